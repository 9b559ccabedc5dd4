// The simulated step: a row for every rank, or one a stage.

const drawTimeline = (view, data) => {
  const parent = body('timeline');
  let current = [];
  const rows = () => current;
  const arrange = () => {
    current = rowsOf(view, data.used, (a, b) => a.busy_s > b.busy_s);
  };
  const height = () => (rows().length > 24 ? 17 : 24);
  const events = data.tracks;
  let under = null; // {row, index} of the slice that is pointed at

  const trackOf = (row) => events[rows()[row].rank.track];
  const describe = ({ row, index }) => {
    const { rank } = rows()[row],
      track = trackOf(row),
      stage = data.stages[rank.stage],
      kind = track.kind[index];
    const length = (track.end[index] - track.start[index]) * data.tick_s;
    const of = track.microbatch[index] >= 0 ? ` of microbatch ${track.microbatch[index]}` : '';
    const computes = kind === FORWARD || kind === BACKWARD;
    const ops = stage.cost.blocks.reduce((sum, block) => sum + block.names.length * block.ops.length, 0);
    return [
      `${KIND_WORDS[kind]}${of}, stage ${rank.stage}`,
      [
        `rank ${rank.number} · ${rank.device} · ${seconds(length)} from ${seconds(track.start[index] * data.tick_s)}`,
        stage.blocks,
        computes &&
          `${rank.samples === 1 ? 'one sample' : `${rank.samples} samples`}; the sum of ${plural(ops, 'op')}, each launch + max(flops / speed, bytes / bandwidth), with flops that tiles waste`,
        kind === REDUCE && 'what is left of the sums of gradients after the last backward',
      ],
    ];
  };

  const slices = (self, row, color) => {
    const track = trackOf(row),
      { stage } = rows()[row].rank,
      y = self.top + row * height() + 2,
      tall = height() - 4;
    const { context } = self;
    let drawn = 0,
      filled = -1;
    for (let i = Math.max(0, lastUpTo(track.start, view.start) - 1); i < track.size && track.start[i] < view.end; i++) {
      const left = Math.max(self.x(track.start[i]), self.gutter - 2),
        right = Math.min(self.x(track.end[i]), self.width + 2);
      if (right < self.gutter || right - filled < 0.4) continue;
      const wide = right - left;
      context.fillStyle = color(stage, track.kind[i], track.microbatch[i]);
      context.fillRect(left, y, Math.max(wide - (wide > 3 ? 1 : 0), 0.6), tall);
      filled = right;
      drawn++;
      if (wide > 9 + 6 * String(track.microbatch[i]).length && track.microbatch[i] >= 0) {
        self.text(
          String(track.microbatch[i]),
          (left + right) / 2,
          y + tall / 2 + 0.5,
          track.kind[i] === BACKWARD && !isDark() ? '#ffffff' : '#10131a',
          10.5,
          500,
          'center',
        );
      }
    }
    return drawn;
  };
  const names = (self) => {
    let before = -1;
    rows().forEach((own, row) => {
      const y = self.top + row * height(),
        { stage } = own.rank,
        { context } = self;
      const chosen = own.rank.number === view.rank;
      if (chosen) {
        context.fillStyle = token('faint');
        context.fillRect(0, y, self.gutter - 4, height());
      }
      if (stage !== before) {
        context.fillStyle = token('line');
        context.fillRect(0, y, self.width, 1);
        context.fillStyle = stageFill(stage);
        context.beginPath();
        context.roundRect(0, y + 3, 20, Math.min(height() - 6, 18), 4);
        context.fill();
        self.text(String(stage), 10, y + 3 + Math.min(height() - 6, 18) / 2 + 0.5, '#10131a', 11, 650, 'center');
      }
      before = stage;
      const text = self.narrow() ? rowLabel(own, true) : `${rowLabel(own)} · ${own.rank.device}`;
      self.text(text, 26, y + height() / 2 + 0.5, token(chosen ? 'ink' : 'quiet'), 11.5, chosen ? 650 : 400, 'left', self.gutter - 32);
    });
  };
  // Messages to and from the slice that is pointed at.
  const arrows = (self) => {
    const { number } = rows()[under.row].rank,
      track = trackOf(under.row);
    const microbatch = track.microbatch[under.index],
      backward = track.kind[under.index] === BACKWARD;
    const rowOf = new Map(rows().flatMap((own, row) => own.ranks.map((rank) => [rank, row])));
    const middle = (rank) => self.top + rowOf.get(rank) * height() + height() / 2;
    const { context } = self;
    context.strokeStyle = token('ink');
    context.lineWidth = 1.4;
    for (const message of data.messages) {
      if (message.backward !== backward || (message.sender !== number && message.receiver !== number)) continue;
      const i = message.flights.microbatch.indexOf(microbatch);
      if (i < 0) continue;
      const [x1, y1, x2, y2] = [
        self.x(message.flights.start[i]),
        middle(message.sender),
        self.x(message.flights.end[i]),
        middle(message.receiver),
      ];
      context.beginPath();
      context.moveTo(x1, y1);
      context.bezierCurveTo(x1 + 10, y1, x2 - 10, y2, x2, y2);
      context.stroke();
      context.beginPath();
      context.arc(x2, y2, 2.6, 0, 7);
      context.fillStyle = token('ink');
      context.fill();
    }
  };
  const frame = (self) => {
    const track = trackOf(under.row),
      { context } = self;
    const left = self.x(track.start[under.index]),
      right = self.x(track.end[under.index]);
    context.strokeStyle = token('ink');
    context.lineWidth = 2;
    context.strokeRect(left, self.top + under.row * height() + 1, Math.max(right - left, 2), height() - 2);
    if (track.kind[under.index] <= BACKWARD) arrows(self);
  };

  const sliceAt = ([x, y]) => {
    const row = self.row(y);
    if (row < 0 || x < self.gutter) return null;
    const track = trackOf(row),
      slack = self.time(x + 2) - self.time(x),
      time = self.time(x);
    const index = lastUpTo(track.start, time + slack);
    return index >= 0 && track.end[index] >= time - slack ? { row, index } : null;
  };
  const point = (found) => {
    if (under && found && under.row === found.row && under.index === found.index) return;
    under = found;
    self.redraw();
  };
  arrange();
  const self = chart(view, data, {
    parent,
    rows,
    height,
    label: 'Timeline of the simulated step. Arrow keys go from slice to slice, plus and minus zoom.',
    gutter: (width) => (width < 560 ? 84 : 224),
    draw: (own) => {
      let drawn = 0;
      own.clip(() => {
        rows().forEach((_, row) => {
          drawn += slices(own, row, colorsBy[view.color]);
        });
        if (under && under.row < rows().length) frame(own);
      });
      names(own);
      return drawn;
    },
    hover: (place, event) => {
      const found = sliceAt(place);
      point(found);
      if (found) showTip(event.clientX, event.clientY, ...describe(found));
      else hideTip();
    },
    leave: () => {
      point(null);
      hideTip();
    },
    choose: ([x, y]) => {
      const row = self.row(y);
      if (row >= 0 && x < self.gutter) view.change({ rank: rows()[row].rank.number });
    },
    open: (place) => {
      const found = sliceAt(place);
      if (!found) {
        view.fit();
        return;
      }
      const track = trackOf(found.row),
        length = track.end[found.index] - track.start[found.index];
      view.show(track.start[found.index] - length, track.end[found.index] + length);
    },
  });

  // The keyboard's way from slice to slice.
  const step = (rowBy, by) => {
    const middle = (view.start + view.end) / 2;
    if (!under) return { row: 0, index: Math.max(0, lastUpTo(trackOf(0).start, view.start > 0 ? middle : 0)) };
    const row = Math.min(rows().length - 1, Math.max(0, under.row + rowBy)),
      track = trackOf(row);
    const index = rowBy
      ? Math.max(0, lastUpTo(track.start, trackOf(under.row).start[under.index]))
      : Math.min(track.size - 1, Math.max(0, under.index + by));
    return { row, index };
  };
  const go = (found) => {
    under = found;
    const track = trackOf(found.row),
      width = view.end - view.start;
    if (track.start[found.index] < view.start || track.end[found.index] > view.end)
      view.show(track.start[found.index] - width / 3, track.start[found.index] + (2 * width) / 3);
    self.redraw();
    const box = self.canvas.getBoundingClientRect();
    const y = box.top + self.top + (found.row + 1) * height();
    showTip(Math.max(box.left + self.gutter, box.left + self.x(track.start[found.index])), y, ...describe(found));
  };
  self.canvas.addEventListener('keydown', (event) => {
    const keys = {
      ArrowLeft: () => (event.shiftKey ? view.pan(-0.2) : go(step(0, -1))),
      ArrowRight: () => (event.shiftKey ? view.pan(0.2) : go(step(0, 1))),
      ArrowUp: () => go(step(-1, 0)),
      ArrowDown: () => go(step(1, 0)),
      '+': () => view.zoom(0.6),
      '=': () => view.zoom(0.6),
      '-': () => view.zoom(1 / 0.6),
      0: () => view.fit(),
      Escape: () => {
        point(null);
        hideTip();
      },
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  self.canvas.addEventListener('blur', () => {
    point(null);
    hideTip();
  });
  view.listen((changes) => {
    if (!('every' in changes) && !('rank' in changes)) return;
    under = null;
    arrange();
  });

  const button = (text, name, act) => el('button', { type: 'button', 'aria-label': name, title: name, onclick: act }, text);
  tools('timeline').append(
    button('−', 'Zoom out', () => view.zoom(1 / 0.6)),
    button('+', 'Zoom in', () => view.zoom(0.6)),
    button('Whole step', 'Show the whole step', view.fit),
    button('◂', 'Earlier', () => view.pan(-0.3)),
    button('▸', 'Later', () => view.pan(0.3)),
    chooser(
      'colour',
      [
        ['stage', 'by stage'],
        ['microbatch', 'by microbatch'],
      ],
      view.color,
      (color) => view.change({ color }),
    ),
    data.stages.length < data.used.length
      ? chooser(
          'rows',
          [
            ['one', 'one a stage'],
            ['every', 'every rank'],
          ],
          view.every ? 'every' : 'one',
          (rows) => view.change({ every: rows === 'every' }),
        )
      : '',
  );
  return self;
};

const timelineNote = (data) => {
  const { plan, drawn } = data;
  const fewer = drawn.microbatches < plan.microbatches;
  document.getElementById('timeline-note').textContent = fewer
    ? `A step of ${drawn.microbatches} microbatches (${seconds(drawn.step_s)}); the plan has ${count(plan.microbatches)}, which go on in the same rhythm to ${seconds(plan.step_s)}.`
    : `All ${count(plan.microbatches)} microbatches of a step, ${seconds(drawn.step_s)}, by their numbers.`;
};
const drawLegend = (view) => {
  const swatch = (kind, text) => el('span', {}, el('i', { style: `background:${shade(hueOf(0), kind)}` }), text);
  const draw = () =>
    document
      .querySelector('#timeline .legend')
      .replaceChildren(
        swatch(FORWARD, 'forward'),
        swatch(BACKWARD, 'backward'),
        swatch(REDUCE, 'gradient sums after the last backward'),
        swatch(UPDATE, 'update'),
        el('span', {}, 'blank: waiting'),
      );
  draw();
  darkQuery.addEventListener('change', draw);
};

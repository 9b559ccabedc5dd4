// What devices hold over time, on the timeline's stretch of time.

const drawMemory = (view, data) => {
  let current = [];
  const rows = () => current;
  const arrange = () => {
    current = rowsOf(view, data.used, (a, b) => a.peak / a.usable > b.peak / b.usable);
  };
  const height = 46;
  const small = data.used.every((rank) => rank.peak < 0.3 * rank.usable);
  view.scale = small ? 'peak' : 'device';
  const top = (rank) => (view.scale === 'device' ? Math.max(rank.usable, rank.peak) : rank.peak);

  const area = (self, rank, row) => {
    const curve = data.curves[rank.curve],
      base = self.top + (row + 1) * height - 5,
      tall = height - 14;
    const y = (level) => base - (level / top(rank)) * tall;
    const { context } = self;
    const first = Math.max(0, lastUpTo(curve.time, view.start));
    const outline = [[self.gutter, curve.level[first]]];
    let drawn = 1,
      bucket = null; // what happens within half a pixel
    const flush = () => {
      if (!bucket) return;
      const before = outline[outline.length - 1][1];
      outline.push([bucket.x, before], [bucket.x, bucket.low], [bucket.x, bucket.high], [bucket.x, bucket.last]);
      bucket = null;
    };
    for (let i = first + 1; i < curve.size && curve.time[i] <= view.end; i++, drawn++) {
      const x = self.x(curve.time[i]),
        level = curve.level[i];
      if (bucket && x - bucket.x < 0.5)
        Object.assign(bucket, { low: Math.min(bucket.low, level), high: Math.max(bucket.high, level), last: level });
      else {
        flush();
        bucket = { x, low: level, high: level, last: level };
      }
    }
    flush();
    const right = Math.min(self.width, self.x(data.ticks));
    outline.push([right, outline[outline.length - 1][1]]);
    context.beginPath();
    context.moveTo(self.gutter, base);
    outline.forEach(([x, level]) => context.lineTo(x, y(level)));
    context.lineTo(right, base);
    context.closePath();
    context.globalAlpha = 0.45;
    context.fillStyle = stageFill(rank.stage);
    context.fill();
    context.globalAlpha = 1;
    context.beginPath();
    outline.forEach(([x, level], i) => (i ? context.lineTo(x, y(level)) : context.moveTo(x, y(level))));
    context.strokeStyle = shade(hueOf(rank.stage), BACKWARD);
    context.lineWidth = 1.3;
    context.stroke();
    context.fillStyle = token('line');
    context.fillRect(self.gutter, base, self.width, 1);
    if (view.scale === 'device') {
      context.fillStyle = rank.peak > 0.95 * rank.usable ? token('bad') : token('quiet');
      context.fillRect(self.gutter, y(rank.usable), self.width, 1);
    }
    return drawn;
  };
  const names = (self) =>
    rows().forEach((own, row) => {
      const { rank } = own,
        y = self.top + row * height,
        { context } = self;
      const chosen = rank.number === view.rank;
      if (chosen) {
        context.fillStyle = token('faint');
        context.fillRect(0, y + 4, self.gutter - 4, height - 8);
      }
      context.fillStyle = stageFill(rank.stage);
      context.beginPath();
      context.roundRect(0, y + 8, 20, 18, 4);
      context.fill();
      self.text(String(rank.stage), 10, y + 17.5, '#10131a', 11, 650, 'center');
      self.text(rowLabel(own, self.narrow()), 26, y + 17, token(chosen ? 'ink' : 'quiet'), 11.5, chosen ? 650 : 400);
      self.text(
        self.narrow() ? bytes(rank.peak) : `${bytes(rank.peak)} of ${bytes(rank.usable)}`,
        self.narrow() ? 4 : 26,
        y + 33,
        token('ink'),
        11.5,
      );
    });

  const explainScale = () => {
    document.getElementById('memory-scale').textContent =
      view.scale === 'device' ? 'The line on top is what it has to use.' : 'Each is as high as its own most.';
  };
  explainScale();
  view.listen((changes) => {
    if ('every' in changes || 'rank' in changes) arrange();
    if ('scale' in changes) explainScale();
  });
  arrange();
  const self = chart(view, data, {
    parent: body('memory'),
    rows,
    height: () => height,
    label: 'Memory of every device over the simulated step',
    gutter: (width) => (width < 560 ? 84 : 224),
    draw: (own) => {
      let drawn = 0;
      own.clip(() =>
        rows().forEach(({ rank }, row) => {
          drawn += area(own, rank, row);
        }),
      );
      names(own);
      return drawn;
    },
    hover: ([x, y], event) => {
      const row = self.row(y);
      if (row < 0 || x < self.gutter) {
        hideTip();
        return;
      }
      const { rank } = rows()[row],
        curve = data.curves[rank.curve],
        level = curve.level[Math.max(0, lastUpTo(curve.time, self.time(x)))];
      showTip(event.clientX, event.clientY, `${bytes(level)} at ${seconds(self.time(x) * data.tick_s)}`, [
        `${percent(level / rank.usable)} of the ${bytes(rank.usable)} that rank ${rank.number} (${rank.device}) has to use`,
        `static ${bytes(curve.level[0])} · most ${bytes(rank.peak)}`,
      ]);
    },
    leave: hideTip,
  });
  self.canvas.addEventListener('keydown', (event) => {
    const keys = {
      ArrowLeft: () => view.pan(-0.2),
      ArrowRight: () => view.pan(0.2),
      '+': () => view.zoom(0.6),
      '=': () => view.zoom(0.6),
      '-': () => view.zoom(1 / 0.6),
      0: () => view.fit(),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  tools('memory').append(
    chooser(
      'height',
      [
        ['device', 'what the device has'],
        ['peak', 'what it needs at most'],
      ],
      view.scale,
      (scale) => view.change({ scale }),
    ),
  );
  return self;
};

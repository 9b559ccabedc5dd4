// A canvas of rows over the shared stretch of time: names on the left, gestures on the right.

const chart = (view, data, options) => {
  const canvas = el('canvas', { tabindex: '0', role: 'img', 'aria-label': options.label });
  const context = canvas.getContext('2d');
  const self = { canvas, context, width: 0, gutter: 0, top: 22 };
  let pending = false;

  self.x = (time) => self.gutter + ((time - view.start) / (view.end - view.start)) * (self.width - self.gutter);
  self.time = (x) => view.start + ((x - self.gutter) / (self.width - self.gutter)) * (view.end - view.start);
  self.narrow = () => self.width < 560;
  self.text = (text, x, y, color, size = 12, weight = 400, align = 'left', room = Infinity) => {
    context.font = `${weight} ${size}px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
    context.fillStyle = color;
    context.textAlign = align;
    context.textBaseline = 'middle';
    if (Number.isFinite(room)) context.fillText(text, x, y, room);
    else context.fillText(text, x, y);
  };
  self.row = (y) =>
    options.rows().findIndex((_, i) => y >= self.top + i * options.height() && y < self.top + (i + 1) * options.height());
  self.clip = (draw) => {
    context.save();
    context.beginPath();
    context.rect(self.gutter, 0, self.width - self.gutter, canvas.clientHeight);
    context.clip();
    draw();
    context.restore();
  };

  const axis = (height) => {
    const { unit, times } = roundTimes(view.start, view.end, data.tick_s, (self.width - self.gutter) / 110);
    for (const time of times) {
      const x = self.x(time / data.tick_s);
      context.fillStyle = token('line');
      context.fillRect(Math.round(x), self.top - 4, 1, height - self.top + 4);
      self.text(
        axisLabel(time, unit, times[times.length - 1]),
        Math.min(x, self.width - 18),
        8,
        token('quiet'),
        11,
        400,
        x < self.gutter + 20 ? 'left' : 'center',
      );
    }
  };
  const draw = () => {
    pending = false;
    const { width } = canvas.parentElement.getBoundingClientRect(),
      height = self.top + options.rows().length * options.height() + 4;
    const ratio = devicePixelRatio || 1;
    self.width = width;
    self.gutter = options.gutter(width);
    canvas.style.height = `${height}px`;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    self.clip(() => axis(height));
    canvas.dataset.drawn = options.draw(self);
    canvas.dataset.start = view.start;
    canvas.dataset.end = view.end;
  };
  self.redraw = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(draw);
  };
  view.listen(self.redraw);
  darkQuery.addEventListener('change', self.redraw);
  new ResizeObserver(self.redraw).observe(options.parent);
  gestures(view, self, options);
  options.parent.append(canvas);
  self.redraw();
  return self;
};

// Wheel, drag, pinch, double click.
const gestures = (view, self, options) => {
  const { canvas } = self;
  const pointers = new Map();
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener(
    'wheel',
    (event) => {
      const [x] = place(event);
      if (x < self.gutter) return;
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
        view.pan((event.deltaX || event.deltaY) / (self.width - self.gutter));
      else view.zoom(Math.exp(Math.max(-240, Math.min(240, event.deltaY)) * 0.0022), self.time(x));
    },
    { passive: false },
  );
  canvas.addEventListener('pointerdown', (event) => {
    pointers.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    const now = place(event),
      before = pointers.get(event.pointerId);
    if (!before) {
      options.hover(now, event);
      return;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId);
    if (others.length) {
      const other = others[0][1][0];
      const was = Math.abs(before[0] - other),
        is = Math.abs(now[0] - other);
      if (was > 8 && is > 8) view.zoom(was / is, self.time((now[0] + other) / 2));
    } else if (now[0] !== before[0]) view.pan(-(now[0] - before[0]) / (self.width - self.gutter));
    pointers.set(event.pointerId, now);
    hideTip();
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
  };
  canvas.addEventListener('pointerup', (event) => {
    release(event);
    options.hover(place(event), event);
    if (options.choose) options.choose(place(event));
  });
  canvas.addEventListener('pointercancel', release);
  canvas.addEventListener('pointerleave', () => options.leave());
  canvas.addEventListener('dblclick', (event) => {
    if (options.open) options.open(place(event));
  });
};

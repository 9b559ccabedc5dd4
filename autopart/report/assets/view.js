// What all drawings share: the stretch of time that is shown (in ticks), the rank that is chosen, how slices are coloured.

const makeView = (ticks, every) => {
  const listeners = [];
  const view = {
    start: 0,
    end: ticks,
    ticks,
    rank: null,
    color: 'stage',
    every,
    scale: 'device',
    listen: (listener) => listeners.push(listener),
    change: (changes) => {
      Object.assign(view, changes);
      listeners.forEach((listener) => listener(changes));
    },
    show: (start, end) => {
      const width = Math.min(ticks, Math.max(end - start, ticks * 1e-6));
      const from = Math.min(Math.max(0, start), ticks - width);
      view.change({ start: from, end: from + width });
    },
    zoom: (factor, center = (view.start + view.end) / 2) =>
      view.show(center - (center - view.start) * factor, center + (view.end - center) * factor),
    pan: (part) => {
      const by = part * (view.end - view.start);
      view.show(view.start + by, view.end + by);
    },
    fit: () => view.show(0, ticks),
  };
  return view;
};

// Round times, about `most` of them.
const roundTimes = (start, end, tick_s, most) => {
  const least = ((end - start) * tick_s) / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const unit = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= least);
  const found = [];
  for (let i = Math.ceil((start * tick_s) / unit); i * unit <= end * tick_s; i++) found.push(i * unit);
  return { unit, times: found };
};
const axisLabel = (time, unit, largest) => {
  const [name, factor] = [
    ['s', 1],
    ['ms', 1e-3],
    ['us', 1e-6],
    ['ns', 1e-9],
  ].find(([, f]) => largest >= f * 0.999 || f === 1e-9);
  const digits = Math.max(0, Math.ceil(-Math.log10(unit / factor) - 1e-9));
  return time ? `${(time / factor).toFixed(digits)} ${name}` : '0';
};

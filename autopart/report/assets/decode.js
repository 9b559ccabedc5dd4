// The compact lists of the data block as columns of numbers: see autopart/report/page.py for what they hold.

const FORWARD = 0,
  BACKWARD = 1,
  REDUCE = 2,
  UPDATE = 3;
const KIND_WORDS = ['forward', 'backward', 'gradient sums', 'optimizer update'];

const decodeTrack = (flat) => {
  const size = flat.length / 4;
  const track = {
    size,
    kind: new Uint8Array(size),
    microbatch: new Int32Array(size),
    start: new Float64Array(size),
    end: new Float64Array(size),
  };
  let at = 0;
  for (let i = 0; i < size; i++) {
    track.kind[i] = flat[4 * i];
    track.microbatch[i] = flat[4 * i + 1];
    track.start[i] = at + flat[4 * i + 2];
    at = track.end[i] = track.start[i] + flat[4 * i + 3];
  }
  return track;
};

const decodeCurve = ({ levels, steps }) => {
  const size = steps.length / 2;
  const curve = { size, time: new Float64Array(size), level: new Float64Array(size) };
  let at = 0;
  for (let i = 0; i < size; i++) {
    curve.time[i] = at += steps[2 * i];
    curve.level[i] = levels[steps[2 * i + 1]];
  }
  return curve;
};

const decodeFlights = (flat) => {
  const size = flat.length / 4;
  const found = {
    size,
    microbatch: new Int32Array(size),
    ready: new Float64Array(size),
    start: new Float64Array(size),
    end: new Float64Array(size),
  };
  let at = 0;
  for (let i = 0; i < size; i++) {
    found.microbatch[i] = flat[4 * i];
    found.ready[i] = at += flat[4 * i + 1];
    found.start[i] = at + flat[4 * i + 2];
    found.end[i] = found.start[i] + flat[4 * i + 3];
  }
  return found;
};

const decode = (data) => {
  const flights = data.flights.map(decodeFlights);
  return {
    ...data,
    ticks: data.drawn.step_s / data.tick_s,
    tracks: data.tracks.map(decodeTrack),
    curves: data.curves.map(decodeCurve),
    messages: data.messages.map(([sender, receiver, backward, nbytes, place]) => ({
      sender,
      receiver,
      backward: Boolean(backward),
      nbytes,
      flights: flights[place],
    })),
    used: data.ranks.map((rank, number) => ({ ...rank, number })).filter((rank) => rank.stage !== undefined),
  };
};

// The last index whose value is at most `limit`, -1 where there is none; `values` ascend.
const lastUpTo = (values, limit) => {
  let low = 0,
    high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
};

// The rows of a drawing, {rank, ranks}: every rank, or one for each stage. There the chosen rank stands for its own stage, of others
// the one that `better` prefers.
const rowsOf = (view, used, better) => {
  const ordered = [...used].sort((a, b) => a.stage - b.stage || a.number - b.number);
  if (view.every) return ordered.map((rank) => ({ rank, ranks: [rank.number] }));
  const stages = new Map();
  for (const rank of ordered) stages.set(rank.stage, [...(stages.get(rank.stage) || []), rank]);
  return [...stages.values()].map((ranks) => ({
    rank: ranks.find((rank) => rank.number === view.rank) || ranks.reduce((best, rank) => (better(rank, best) ? rank : best)),
    ranks: ranks.map((rank) => rank.number),
  }));
};
const rowLabel = ({ rank, ranks }, narrow) => {
  const of = ranks.length > 1 && !narrow ? ` of ${ranges(ranks)}` : '';
  return `rank ${rank.number}${of}`;
};

// "0-3, 8" of ascending numbers.
const ranges = (numbers) => {
  const runs = [];
  for (const number of numbers) {
    const last = runs[runs.length - 1];
    if (last && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(', ');
};

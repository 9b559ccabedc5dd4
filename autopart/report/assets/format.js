// Numbers as autopart's other reports write them: three digits and the largest unit that leaves at least 1.

const scaled = (value, units) => {
  let chosen = units[0];
  for (const unit of units) {
    if (Number((Math.abs(value) / unit[1]).toPrecision(3)) >= 1) chosen = unit;
  }
  const number = value / chosen[1];
  const digits = Math.abs(number) < 999.5 ? String(Number(number.toPrecision(3))) : number.toFixed(0);
  return value ? `${digits} ${chosen[0]}` : `0 ${chosen[0] === 'ns' ? 's' : chosen[0]}`;
};
const decimal = (unit) => [
  [unit, 1],
  [`k${unit}`, 1e3],
  [`M${unit}`, 1e6],
  [`G${unit}`, 1e9],
  [`T${unit}`, 1e12],
  [`P${unit}`, 1e15],
];
const seconds = (value) =>
  scaled(value, [
    ['ns', 1e-9],
    ['us', 1e-6],
    ['ms', 1e-3],
    ['s', 1],
  ]);
const bytes = (value) =>
  scaled(
    value,
    ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((unit, i) => [unit, 2 ** (10 * i)]),
  );
const rate = (value) => scaled(value, decimal('B/s'));
const flops = (value) => scaled(value, decimal('FLOP'));
const speed = (value) => scaled(value, decimal('FLOP/s'));
const percent = (part) =>
  part > 0 && part < 0.0095 ? `${(100 * part).toFixed(part < 0.00095 ? 2 : 1)}%` : `${Math.round(100 * part)}%`;
const count = (value) => value.toLocaleString('en');
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? '' : 's'}`;

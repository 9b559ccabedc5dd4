// A stage's microbatch, block by block and op by op, with the formula behind each number.

const NAME = 0,
  MODULE = 1,
  FORWARD_S = 2,
  BACKWARD_S = 3,
  CLASS = 4,
  WORK = 5,
  WASTE = 9;

// launch + max(waste × flops / speed, bytes / bandwidth), as numbers; of a price that was measured, where it comes from.
const formula = (cost, op, at, total) => {
  if (op.length === CLASS + 1) return `${op[CLASS]}: latency and bytes over the links between columns`;
  if (op.length === WORK + 1) return `${seconds(total)}: ${op[WORK]}`;
  const [work, traffic] = [op[WORK + at], op[WORK + at + 1]];
  if (!total) return 'nothing';
  const [reached, bandwidth] = cost.rates[op[CLASS]];
  const waste = op[WASTE + at / 2] ?? 1,
    compute = (waste * work) / reached,
    move = traffic / bandwidth;
  const bound = compute >= move ? 'flops count' : 'bytes count';
  return `${seconds(cost.launch_s)} + max(${waste > 1 ? `${waste.toFixed(2)} × ` : ''}${flops(work)} / ${speed(reached)} = ${seconds(compute)}, ${bytes(traffic)} / ${rate(bandwidth)} = ${seconds(move)}) = ${seconds(total)}: ${bound}`;
};
const opTip = (cost, op) => [
  op[NAME],
  [
    op[MODULE] ? `in ${op[MODULE]}` : '',
    op[CLASS],
    `forward: ${formula(cost, op, 0, op[FORWARD_S])}`,
    `backward: ${formula(cost, op, 2, op[BACKWARD_S])}`,
  ],
];

const opTable = (cost, block) => {
  const longest = Math.max(...block.ops.map((op) => op[FORWARD_S] + op[BACKWARD_S]));
  const shown = block.ops.filter((op) => op[FORWARD_S] + op[BACKWARD_S] > 0);
  const rows = shown.map((op) =>
    explain(
      el(
        'tr',
        { tabindex: '0' },
        cell([op[NAME], op[MODULE] ? el('small', {}, op[MODULE]) : ''], '', 'names'),
        cell(op[CLASS], 'kind'),
        cell(seconds(op[FORWARD_S]), 'forward', 'number'),
        cell(seconds(op[BACKWARD_S]), 'backward', 'number'),
        cell(meter((op[FORWARD_S] + op[BACKWARD_S]) / longest)),
      ),
      () => opTip(cost, op),
    ),
  );
  const views = block.ops.length - shown.length;
  return [
    el(
      'h3',
      {},
      `${block.names[0]}${block.names.length > 1 ? ` and ${plural(block.names.length - 1, 'block')} like it` : ''}: forward ${seconds(block.forward_s)}, backward ${seconds(block.backward_s)}`,
    ),
    grid(['op', 'kind', 'forward', 'backward', 'both'], rows, 'cards'),
    el(
      'p',
      { class: 'note' },
      [
        views ? `${plural(views, 'view')} that cost nothing ${views === 1 ? 'is' : 'are'} left out.` : '',
        block.mixing_s ? ` Sums over replicas inside ops that mix samples: ${seconds(block.mixing_s)} each way.` : '',
      ].join(''),
    ),
  ];
};

const blockTip = (block, name) => [
  name,
  [
    `forward ${seconds(block.forward_s)}, backward ${seconds(block.backward_s)} a microbatch`,
    `the sum of ${plural(block.ops.length, 'op')}${block.names.length > 1 ? `; ${block.names.length} blocks of this kind` : ''}`,
  ],
];

const drawOps = (data) => {
  const parent = body('ops');
  const stageName = (index) => `stage ${index}: ${data.stages[index].devices}`;
  const draw = (index) => {
    const { cost } = data.stages[index];
    const both = cost.forward_s + cost.backward_s;
    const seen = cost.blocks.map(() => 0);
    const placed = cost.order.map((kind) => ({ block: cost.blocks[kind], name: cost.blocks[kind].names[seen[kind]++] }));
    const detail = el('div', { class: 'detail' });
    const buttons = placed.map(({ block, name }) =>
      explain(
        el(
          'button',
          {
            type: 'button',
            'aria-pressed': 'false',
            style: `flex-grow:${Math.max((block.forward_s + block.backward_s) / both, 0.004)}`,
            '--own': stageColor(index),
            onclick: (event) => choose(event.currentTarget, block),
          },
          shortName(name),
        ),
        () => blockTip(block, name),
      ),
    );
    const choose = (button, block) => {
      buttons.forEach((other) => other.setAttribute('aria-pressed', String(other === button)));
      detail.replaceChildren(...opTable(cost, block));
    };
    const extra = cost.extra.map(([what, forward, backward]) =>
      explain(
        el('button', { type: 'button', class: 'rest', style: `flex-grow:${Math.max((forward + backward) / both, 0.004)}` }, what),
        () => [what, [forward ? `forward ${seconds(forward)}` : '', backward ? `backward ${seconds(backward)}` : '']],
      ),
    );
    parent.replaceChildren(
      el(
        'p',
        {},
        `Rank ${cost.rank}, ${plural(cost.rows, 'sample')}: forward ${seconds(cost.forward_s)}, backward ${seconds(cost.backward_s)}.`,
      ),
      el('div', { class: 'strip' }, buttons, extra),
      detail,
    );
    const slowest = placed.reduce(
      (best, { block }, i) =>
        block.forward_s + block.backward_s > placed[best].block.forward_s + placed[best].block.backward_s ? i : best,
      0,
    );
    choose(buttons[slowest], placed[slowest].block);
  };
  tools('ops').append(
    chooser(
      'stage',
      data.stages.map((_, index) => [String(index), stageName(index)]),
      '0',
      (chosen) => draw(Number(chosen)),
    ),
  );
  draw(0);
};

// The last parts of a name, from the last number on: "h.3.attn" of "transformer.h.3.attn".
const shortName = (name) => {
  const parts = name.split('.');
  const number = parts.findLastIndex((part) => /^\d+$/.test(part));
  return (number > 0 ? parts.slice(number) : parts.slice(-1)).join('.');
};

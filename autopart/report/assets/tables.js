// Headline, baselines, stages, communication.

const drawHead = (data) => {
  const { plan } = data;
  const tile = (value, text) => el('div', { class: 'tile' }, el('b', {}, value), el('span', {}, text));
  const best = Math.min(...data.baselines.filter((baseline) => baseline.step_s !== null).map((baseline) => baseline.step_s));
  const idle = data.ranks.length - data.used.length;
  const microbatches =
    plan.microbatches > 1
      ? `${plan.microbatches} microbatches of ${plan.batch_size / plan.microbatches}, ${plan.schedule}`
      : 'one microbatch';
  const tiles = [
    tile(seconds(plan.step_s), `a step of ${plural(plan.batch_size, 'sample')}, simulated`),
    tile(`${count(Number((plan.batch_size / plan.step_s).toPrecision(3)))} /s`, 'samples'),
    plan.gap === null
      ? tile(seconds(plan.schedule_bound_s), 'no execution of this schedule is faster')
      : tile(`${(100 * plan.gap).toFixed(1)}%`, `gap, proven: by the formula no plan is below ${seconds(plan.lower_bound_s)}`),
    Number.isFinite(best) ? tile(`${(best / plan.step_s).toPrecision(3)} ×`, 'as fast as the best of the usual ways') : '',
    tile(`${data.used.length} of ${data.ranks.length}`, idle ? `devices; ${idle} left out` : 'devices, all used'),
    tile(String(data.stages.length), data.stages.length === 1 ? 'stage' : 'stages'),
  ];
  const parts = Object.entries(plan.breakdown)
    .filter(([, value]) => value > 0)
    .map(([cause, value]) => `${cause} ${seconds(value)}`)
    .join(', ');
  document
    .getElementById('head')
    .append(
      el('h1', {}, `${plan.model} over ${plan.cluster}`),
      el(
        'p',
        { class: 'sub' },
        `${plan.parameters ? `${count(plan.parameters)} parameters · ` : ''}batch ${plan.batch_size} · ${microbatches} · ${plan.optimizer}, ${plan.precision}`,
      ),
      el('div', { class: 'tiles' }, tiles),
      data.bound ? el('p', { class: 'bound' }, `${data.bound[0].toUpperCase()}${data.bound.slice(1)}.`) : '',
      el('p', { class: 'sub' }, `The slowest rank: ${parts}.`),
    );
};

const drawBaselines = (data) => {
  const { plan } = data;
  if (!data.baselines.length) {
    body('baselines').append(el('p', { class: 'note' }, 'This plan was not searched for: it has no baselines.'));
    return;
  }
  const longest = Math.max(plan.step_s, ...data.baselines.map((baseline) => baseline.step_s || 0));
  const row = (name, step, infeasible, own) =>
    el(
      'tr',
      { class: own ? 'own' : false },
      cell(name, '', 'names'),
      ...(step === null
        ? [el('td', { colspan: 3, class: 'reason' }, infeasible)]
        : [
            cell(seconds(step), '', 'number'),
            cell(meter(step / longest, own ? 'var(--good)' : 'var(--quiet)')),
            cell(own ? '' : `× ${(step / plan.step_s).toFixed(2)}`, '', 'number'),
          ]),
    );
  body('baselines').append(
    grid(
      ['', 'step', '', ''],
      [
        row('this plan', plan.step_s, '', true),
        ...data.baselines.map((baseline) => row(baseline.name, baseline.step_s, baseline.infeasible, false)),
      ],
    ),
  );
};

const drawStages = (data) => {
  const busiest = (index) => data.used.filter((rank) => rank.stage === index).reduce((a, b) => (b.busy_s > a.busy_s ? b : a));
  const fullest = (index) =>
    data.used.filter((rank) => rank.stage === index).reduce((a, b) => (b.peak / b.usable > a.peak / a.usable ? b : a));
  const rows = data.stages.map((stage, index) => {
    const busy = busiest(index),
      full = fullest(index);
    const how = [stage.mesh, stage.recompute ? 'recomputed' : ''].filter(Boolean).join(', ');
    return el(
      'tr',
      {},
      cell(dot(index), 'stage'),
      cell([stage.devices, el('small', {}, `rank ${stage.ranks}`)], 'devices'),
      cell([stage.blocks, how ? el('small', {}, how) : '', stage.layout ? el('small', {}, stage.layout) : ''], '', 'names'),
      cell(stage.samples, 'samples by replica', 'number'),
      cell(
        [
          meter(busy.busy_s / data.plan.step_s, stageColor(index)),
          el('small', {}, `${seconds(busy.busy_s)}, ${percent(busy.busy_s / data.plan.step_s)}`),
        ],
        'works, of the step',
      ),
      cell(
        [
          meter(full.peak / full.usable, full.peak > 0.9 * full.usable ? 'var(--bad)' : stageColor(index)),
          el('small', {}, `${bytes(full.peak)} of ${bytes(full.usable)}`),
        ],
        'memory of the fullest',
      ),
    );
  });
  body('stages').append(
    grid(['stage', 'devices', 'blocks', 'samples', 'works, of the step', 'memory of the fullest'], rows, 'cards'),
  );
};

const linkTip = (data, link) => [
  `${link.name}, ${link.outward ? 'out' : 'in'}`,
  [
    `${bytes(link.nbytes)} in ${plural(link.messages, 'message')} over the drawn step`,
    `busy ${seconds(link.busy_s)}: bytes / ${rate(link.bandwidth)}, or the slower end's`,
    `messages waited ${seconds(link.waited_s)} in all until their path was free`,
  ],
];

const drawTraffic = (data) => {
  const most = 12;
  const row = (link) =>
    explain(
      el(
        'tr',
        { tabindex: '0' },
        cell(`${link.name}, ${link.outward ? 'out' : 'in'}`, '', 'names'),
        cell(bytes(link.nbytes), 'sent', 'number'),
        cell(meter(link.busy_s / data.drawn.step_s)),
        cell(percent(link.busy_s / data.drawn.step_s), 'busy', 'number'),
        cell(seconds(link.waited_s), 'waiting', 'number'),
      ),
      () => linkTip(data, link),
    );
  const links = (shown) => grid(['link', 'sent', 'busy', '', 'messages waited'], shown.map(row), 'links');
  const left = el('div', {}, el('h3', {}, 'Links, messages between stages'));
  if (data.links.length) {
    const holder = el('div', {}, links(data.links.slice(0, most)));
    left.append(holder);
    if (data.links.length > most)
      left.append(
        el(
          'p',
          { class: 'tools' },
          el(
            'button',
            {
              type: 'button',
              onclick: (event) => {
                holder.replaceChildren(links(data.links));
                event.target.remove();
              },
            },
            `all ${data.links.length} links`,
          ),
        ),
      );
  } else left.append(el('p', { class: 'note' }, 'No stage sends anything to another.'));
  const right = el('div', {});
  if (data.boundaries.length) {
    right.append(
      el('h3', {}, 'Between stages, a microbatch'),
      grid(
        ['stages', 'values', 'gradients', 'both ways, a step'],
        data.boundaries.map(([source, target, forward, backward]) =>
          el(
            'tr',
            {},
            cell([dot(source), ' → ', dot(target)], '', 'number'),
            cell(bytes(forward), '', 'number'),
            cell(bytes(backward), '', 'number'),
            cell(bytes((forward + backward) * data.plan.microbatches), '', 'number'),
          ),
        ),
      ),
    );
  }
  if (data.sums.length) {
    right.append(
      el('h3', {}, 'Sums of gradients, once a step'),
      grid(
        ['stages', 'ranks', 'bytes', 'alone they take'],
        data.sums.map((sum) =>
          el(
            'tr',
            {},
            cell(
              sum.stages.flatMap((stage) => [dot(stage), ' ']),
              '',
              'number',
            ),
            cell(sum.ranks),
            cell(sum.nbytes ? bytes(sum.nbytes) : 'with ZeRO, by microbatch', '', 'number'),
            cell(seconds(sum.seconds), '', 'number'),
          ),
        ),
      ),
    );
  }
  body('traffic').append(el('div', { class: 'columns' }, left, right));
};

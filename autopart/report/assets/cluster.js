// Nodes and devices, coloured by stage, with what crosses each node's uplink.

const deviceTip = (data, rank, number) => {
  if (rank.stage === undefined)
    return [`rank ${number}: left out`, [rank.device, 'The plan is faster, or no slower, without it.']];
  const waits = rank.seconds.transfer + rank.seconds.bubble;
  return [
    `rank ${number}: stage ${rank.stage}`,
    [
      `${rank.device}, node ${data.nodes[rank.node].name}`,
      data.stages[rank.stage].blocks,
      `works ${seconds(rank.busy_s)} of a step (${percent(rank.busy_s / data.plan.step_s)})`,
      waits > 0 && `waits ${seconds(rank.seconds.transfer)} for messages, ${seconds(rank.seconds.bubble)} for others`,
      `memory ${bytes(rank.peak)} of ${bytes(rank.usable)} (${percent(rank.peak / rank.usable)})`,
    ],
  ];
};

const drawCluster = (view, data) => {
  const roomy = data.ranks.length <= 16,
    many = data.nodes.length > 8;
  for (const id of many ? ['cluster', 'baselines'] : []) document.getElementById(id).classList.add('wide');
  const device = (rank, number) => {
    const used = rank.stage !== undefined;
    const square = el(
      'button',
      {
        type: 'button',
        class: used ? 'device' : 'device idle',
        'aria-pressed': 'false',
        'aria-label': deviceTip(data, rank, number)[0],
        '--own': used ? stageColor(rank.stage) : 'var(--line)',
        onclick: () => view.change({ rank: view.rank === number ? null : number }),
      },
      used ? el('i', { style: `height:${Math.min(100, (100 * rank.peak) / rank.usable).toFixed(1)}%` }) : '',
      el('em', {}, String(number)),
      roomy ? el('small', {}, used ? `stage ${rank.stage}` : 'left out') : '',
    );
    view.listen((changes) => {
      if ('rank' in changes) square.setAttribute('aria-pressed', String(view.rank === number));
    });
    return explain(square, () => deviceTip(data, rank, number));
  };
  const uplink = (name) => {
    const own = data.links.filter((link) => link.name === `network of ${name}`).sort((a, b) => b.outward - a.outward);
    return own.map((link) =>
      explain(
        el(
          'div',
          { class: 'uplink' },
          el('span', {}, link.outward ? 'out' : 'in'),
          meter(link.busy_s / data.drawn.step_s),
          el('span', {}, percent(link.busy_s / data.drawn.step_s)),
        ),
        () => linkTip(data, link),
      ),
    );
  };
  const node = (own, index, columns) =>
    el(
      'div',
      { class: 'node' },
      el('span', {}, own.name),
      el(
        'div',
        { class: 'devices', '--columns': columns },
        data.ranks.map((rank, number) => (rank.node === index ? device(rank, number) : null)),
      ),
      uplink(own.name),
    );
  const parts = data.groups.map((group, place) =>
    el(
      'div',
      { class: 'group' },
      el(
        'p',
        {},
        el('b', {}, `${group.nodes > 1 ? `${group.nodes} nodes, each ` : ''}${group.devices} × ${group.device}`),
        group.inside ? ` · inside ${group.inside}` : '',
        group.network ? ` · uplink ${group.network}` : '',
      ),
      el(
        'div',
        { class: data.nodes.length > 1 && !many ? 'nodes wired' : 'nodes' },
        data.nodes.map((own, index) => (own.group === place ? node(own, index, Math.min(group.devices, 4)) : null)),
      ),
    ),
  );
  const exceptions = data.exceptions.map(({ between, link }) =>
    el('p', { class: 'note alone' }, `between ${between.join(' and ')}: ${link}`),
  );
  body('cluster').classList.toggle('roomy', roomy);
  body('cluster').classList.toggle('tight', many);
  body('cluster').append(...parts, ...exceptions);
};

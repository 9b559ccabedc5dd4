// Elements, and the one tip that hover, focus and touch share.

const el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) made.style.setProperty(name, value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== '' && child !== null && child !== undefined));
  return made;
};
const body = (id) => document.querySelector(`#${id} .body`);
const tools = (id) => document.querySelector(`#${id} .tools`);

const tip = document.getElementById('tip');
const showTip = (x, y, title, lines) => {
  tip.replaceChildren(el('b', {}, title), ...lines.filter(Boolean).map((line) => el('span', {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 14 + box.width > innerWidth - 8 ? x - box.width - 14 : x + 14;
  const top = y + 16 + box.height > innerHeight - 8 ? y - box.height - 12 : y + 16;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(8, top)}px`;
};
const hideTip = () => {
  tip.hidden = true;
};

// Gives an element a tip on hover and on focus; `say` returns [title, lines].
const explain = (element, say) => {
  element.addEventListener('pointermove', (event) => showTip(event.clientX, event.clientY, ...say()));
  element.addEventListener('pointerleave', hideTip);
  element.addEventListener('focus', () => {
    const box = element.getBoundingClientRect();
    if (element.matches(':focus-visible')) showTip(box.left, box.bottom - 10, ...say());
  });
  element.addEventListener('blur', hideTip);
  return element;
};
addEventListener('scroll', hideTip, { passive: true });
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') hideTip();
});

const meter = (part, fill) =>
  el(
    'div',
    { class: 'meter' },
    el('i', { style: `width:${Math.min(100, Math.max(0, 100 * part)).toFixed(2)}%`, '--fill': fill || 'var(--accent)' }),
  );
const cell = (content, name, kind = '') =>
  el('td', { class: kind || false, 'data-name': name || false }, ...(Array.isArray(content) ? content : [content]));
const grid = (names, rows, kind = '') =>
  el(
    'div',
    { class: 'scroll' },
    el(
      'table',
      { class: kind || false },
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          names.map((name) => el('th', { scope: 'col' }, name)),
        ),
      ),
      el('tbody', {}, rows),
    ),
  );
const chooser = (label, options, chosen, change) =>
  el(
    'label',
    {},
    `${label} `,
    el(
      'select',
      { onchange: (event) => change(event.target.value) },
      options.map(([value, text]) => el('option', { value, selected: value === chosen }, text)),
    ),
  );
const dot = (stage) => el('span', { class: 'dot', '--own': stageColor(stage) }, String(stage));

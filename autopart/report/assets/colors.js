// Colours by stage (or by microbatch), of even lightness: forward light, backward deep. They follow the system's light or dark.

const darkQuery = window.matchMedia('(prefers-color-scheme: dark)');
const isDark = () => darkQuery.matches;
const STAGE_HUES = [255, 65, 150, 320, 200, 30, 105, 285, 175, 0];
const hueOf = (index) =>
  index < STAGE_HUES.length
    ? STAGE_HUES[index]
    : (STAGE_HUES[index % STAGE_HUES.length] + 17 * Math.floor(index / STAGE_HUES.length)) % 360;
const GOLDEN = 137.508;

const shade = (hue, kind) => {
  if (kind === REDUCE) return isDark() ? '#aab2bf' : '#4b5563';
  if (kind === UPDATE) return isDark() ? '#5f6875' : '#a5adba';
  const [light, chroma] = kind === FORWARD ? (isDark() ? [0.78, 0.1] : [0.83, 0.085]) : isDark() ? [0.58, 0.13] : [0.62, 0.145];
  return `oklch(${light} ${chroma} ${hue})`;
};
const colorsBy = {
  stage: (stage, kind) => shade(hueOf(stage), kind),
  microbatch: (stage, kind, microbatch) => shade((microbatch * GOLDEN) % 360, kind),
};
const stageFill = (stage) => `oklch(${isDark() ? 0.74 : 0.78} 0.11 ${hueOf(stage)})`; // for a canvas
const stageColor = (stage) => `oklch(var(--stage-light) 0.11 ${hueOf(stage)})`; // for elements
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

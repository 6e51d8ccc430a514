/** Curves in SVG: logarithmic in both directions, as costs and sizes are. */

/** One curve. */
export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const WIDTH = 720;
const HEIGHT = 380;
const LEFT = 70;
const RIGHT = 190;
const TOP = 34;
const BOTTOM = 48;
/** Told apart also by those who do not see colours as most do (Okabe and Ito), and dark and light ground alike. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/** Draws curves; `x` and `y` name the axes and their units. */
export function plot(title: string, x: string, y: string, curves: readonly Curve[]): string {
  const all = curves.flatMap(({ points }) => points);
  const [left, right] = bounds(all.map(([at]) => at));
  const [low, high] = bounds(all.map(([, at]) => at));
  const toX = (at: number) => LEFT + (Math.log10(at) - left) / (right - left) * (WIDTH - LEFT - RIGHT);
  const toY = (at: number) => HEIGHT - BOTTOM - (Math.log10(at) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const lines: string[] = [];
  for (let power = Math.ceil(left); power <= right; power++) {
    const at = toX(10 ** power).toFixed(1);
    lines.push(`<path class="grid" d="M${at} ${TOP}V${HEIGHT - BOTTOM}"/>`);
    lines.push(`<text x="${at}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${tick(power)}</text>`);
  }
  for (let power = Math.ceil(low); power <= high; power++) {
    const at = toY(10 ** power).toFixed(1);
    lines.push(`<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/>`);
    lines.push(`<text x="${LEFT - 6}" y="${at}" dy="4" text-anchor="end">${tick(power)}</text>`);
  }
  for (const [number, { name, points }] of curves.entries()) {
    const colour = COLOURS[number % COLOURS.length];
    const path = points.map(([px, py], at) => `${at === 0 ? "M" : "L"}${toX(px).toFixed(1)} ${toY(py).toFixed(1)}`);
    lines.push(`<path fill="none" stroke="${colour}" stroke-width="2" d="${path.join("")}"/>`);
    for (const [px, py] of points) {
      lines.push(`<circle cx="${toX(px).toFixed(1)}" cy="${toY(py).toFixed(1)}" r="3" fill="${colour}"/>`);
    }
    const place = TOP + 10 + number * 18;
    lines.push(`<path stroke="${colour}" stroke-width="3" d="M${WIDTH - RIGHT + 12} ${place - 4}h18"/>`);
    lines.push(`<text x="${WIDTH - RIGHT + 36}" y="${place}">${escaped(name)}</text>`);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">
<title>${escaped(title)}</title>
<style>text{font:12px sans-serif;fill:#777}.title{font-size:14px}.grid{stroke:#777;stroke-opacity:.3}</style>
<text class="title" x="${LEFT}" y="20">${escaped(title)}</text>
${lines.join("\n")}
<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escaped(x)}</text>
<text transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>
</svg>
`;
}

/** Whole powers of ten around all values. */
function bounds(values: readonly number[]): [number, number] {
  const logs = values.map((value) => Math.log10(value));
  const low = Math.floor(Math.min(...logs));
  return [low, Math.max(Math.ceil(Math.max(...logs)), low + 1)];
}

function tick(power: number): string {
  if (power >= -3 && power <= 3) return String(Number((10 ** power).toFixed(3)));
  return `10<tspan dy="-5" font-size="9">${power}</tspan>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

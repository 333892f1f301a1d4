// Where each cell of the status grid lies, and which cell lies somewhere. Pure.
//
// Cells keep the place they have as long as the same sensors are there: who looks every day knows where the cold store is.

export interface Section {
  label: string;
  /** Indexes of sensors, in their order. */
  cells: number[];
  left: number;
  /** Top of the label, and of the first row of cells. */
  top: number;
  body: number;
  rows: number;
}
export interface Grid {
  sections: Section[];
  /** Length of a cell with the gap after it. */
  pitch: number;
  cell: number;
  /** Cells side by side in a section. */
  columns: number;
  /** Width of a section. */
  width: number;
  height: number;
}

export const LABEL = 20;
const SPACE = 8;
/** Between sections that stand side by side. */
const GUTTER = 28;
const ABREAST = 4;

/** Cells as large as they can be for the grid to be no higher than `wanted`, between 2 and 23 pixels; then as low as it can be. */
export function layout(groups: { label: string; cells: number[] }[], width: number, wanted: number): Grid {
  for (let pitch = 26; pitch > 3; pitch -= 1) {
    let best: Grid | null = null;
    for (let abreast = 1; abreast <= Math.min(ABREAST, groups.length); abreast += 1) {
      const grid = place(groups, width, pitch, abreast);
      if (grid.columns >= 8 && grid.height <= wanted && (best === null || grid.height < best.height)) best = grid;
    }
    if (best) return best;
  }
  return place(groups, width, 3, 1);
}

function place(groups: { label: string; cells: number[] }[], width: number, pitch: number, abreast: number): Grid {
  const gap = pitch >= 10 ? 3 : pitch >= 6 ? 2 : 1;
  const room = Math.floor((width - GUTTER * (abreast - 1)) / abreast);
  const columns = Math.max(1, Math.floor((room + gap) / pitch));
  const label = groups.length > 1 || (groups[0]?.label ?? "") !== "" ? LABEL : 0;
  const sections: Section[] = [];
  let y = 0;
  for (let first = 0; first < groups.length; first += abreast) {
    if (first > 0) y += SPACE;
    const row = groups.slice(first, first + abreast).map((group, at) => {
      const rows = Math.ceil(group.cells.length / columns);
      return { ...group, left: at * (room + GUTTER), top: y, body: y + label, rows };
    });
    sections.push(...row);
    y += label + pitch * Math.max(...row.map((section) => section.rows));
  }
  return { sections, pitch, cell: pitch - gap, columns, width: room, height: y };
}

/** The sensor under a point; null beside. */
export function hit(grid: Grid, x: number, y: number): number | null {
  const { pitch, columns } = grid;
  for (const section of grid.sections) {
    const column = Math.floor((x - section.left) / pitch);
    const row = Math.floor((y - section.body) / pitch);
    if (column >= 0 && column < columns && row >= 0 && row < section.rows) return section.cells[row * columns + column] ?? null;
  }
  return null;
}

/** The upper left corner of the cell of a sensor. */
export function corner(grid: Grid, sensor: number): { x: number; y: number } | null {
  for (const section of grid.sections) {
    const at = section.cells.indexOf(sensor);
    if (at >= 0) return { x: section.left + (at % grid.columns) * grid.pitch, y: section.body + Math.floor(at / grid.columns) * grid.pitch };
  }
  return null;
}

/** The sensor to which a key leads from the one that is chosen. */
export function step(grid: Grid, sensor: number | null, key: string): number | null {
  const all = grid.sections.flatMap((section) => section.cells);
  if (sensor === null) return all[0] ?? null;
  const at = all.indexOf(sensor);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - grid.columns, ArrowDown: at + grid.columns, Home: 0, End: all.length - 1 }[key];
  return to === undefined ? null : (all[to] ?? sensor);
}

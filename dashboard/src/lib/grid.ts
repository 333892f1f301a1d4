// Where each cell of the status grid lies, and which cell lies somewhere. Pure.
//
// Cells keep the place they have as long as the same sensors are there: who looks every day knows where the cold store is.

export interface Section {
  label: string;
  /** Indexes of sensors, in their order. */
  cells: number[];
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
  columns: number;
  height: number;
}

export const LABEL = 20;
const SPACE = 8;

/** Cells as large as they can be for the grid to be no higher than `wanted`, between 2 and 23 pixels. */
export function layout(groups: { label: string; cells: number[] }[], width: number, wanted: number): Grid {
  let grid: Grid | null = null;
  for (let pitch = 26; pitch >= 3; pitch -= 1) {
    grid = place(groups, width, pitch);
    if (grid.height <= wanted) break;
  }
  return grid ?? place(groups, width, 3);
}

function place(groups: { label: string; cells: number[] }[], width: number, pitch: number): Grid {
  const gap = pitch >= 10 ? 3 : pitch >= 6 ? 2 : 1;
  const columns = Math.max(1, Math.floor((width + gap) / pitch));
  const labels = groups.length > 1 || (groups[0]?.label ?? "") !== "";
  let y = 0;
  const sections = groups.map(({ label, cells }, index) => {
    if (index > 0) y += SPACE;
    const top = y;
    const body = top + (labels ? LABEL : 0);
    const rows = Math.ceil(cells.length / columns);
    y = body + rows * pitch;
    return { label, cells, top, body, rows };
  });
  return { sections, pitch, cell: pitch - gap, columns, height: y };
}

/** The sensor under a point; null beside. */
export function hit(grid: Grid, x: number, y: number): number | null {
  if (x < 0 || y < 0) return null;
  const section = grid.sections.find((one) => y >= one.body && y < one.body + one.rows * grid.pitch);
  if (!section) return null;
  const column = Math.floor(x / grid.pitch);
  if (column >= grid.columns) return null;
  return section.cells[Math.floor((y - section.body) / grid.pitch) * grid.columns + column] ?? null;
}

/** The upper left corner of the cell of a sensor. */
export function corner(grid: Grid, sensor: number): { x: number; y: number } | null {
  for (const section of grid.sections) {
    const at = section.cells.indexOf(sensor);
    if (at >= 0) return { x: (at % grid.columns) * grid.pitch, y: section.body + Math.floor(at / grid.columns) * grid.pitch };
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

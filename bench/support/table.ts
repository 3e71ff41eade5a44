// Tables: raw rows for machines, and a grid of text for people. The first line of a grid is its head.

export type Row = Readonly<Record<string, string | number | boolean>>;

export interface Table {
  readonly name: string;
  readonly title: string;
  readonly rows: readonly Row[];
  readonly grid: readonly (readonly string[])[];
}

/** One line per row. */
export function list<R extends Row>(
  rows: readonly R[],
  columns: Readonly<Record<string, (row: R) => string | number>>,
): string[][] {
  return [
    Object.keys(columns),
    ...rows.map((row) => Object.values(columns).map((column) => String(column(row)))),
  ];
}

/** Rows that agree in `down` share a line, those that agree in `across` a column; both in order of appearance. */
export function crosstab<R extends Row>(
  rows: readonly R[],
  down: readonly (keyof R & string)[],
  across: (row: R) => string,
  cell: (row: R) => string,
): string[][] {
  const columns = [...new Set(rows.map(across))];
  const lines = new Map<string, string[]>();
  for (const row of rows) {
    const heads = down.map((key) => String(row[key]));
    const key = JSON.stringify(heads);
    const line = lines.get(key) ?? [...heads, ...columns.map(() => '')];
    line[down.length + columns.indexOf(across(row))] = cell(row);
    lines.set(key, line);
  }
  return [[...down, ...columns], ...lines.values()];
}

export function toText({ title, grid }: Table): string {
  const widths = grid[0].map((_, column) => Math.max(...grid.map((line) => line[column].length)));
  const lines = grid.map((line) => line.map((cell, column) => cell.padEnd(widths[column])).join('  '));
  return `${title}\n\n${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

export function toMarkdown({ title, grid }: Table): string {
  const lines = grid.map((line) => `| ${line.join(' | ')} |`);
  return [`${title}:`, '', lines[0], `|${grid[0].map(() => '---').join('|')}|`, ...lines.slice(1)].join('\n');
}

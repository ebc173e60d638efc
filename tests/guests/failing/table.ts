export interface Table {
  nobody?: never;
}

export function demand(table: Table): never {
  throw new RangeError(`nobody is not in the table of ${Object.keys(table).length}`);
}

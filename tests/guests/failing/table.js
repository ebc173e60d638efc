const TABLE = new Map([["office", { address: 0xc0000201 }]]);

export const lookUp = (name) => TABLE.get(name);

export function demand(name) {
  const found = lookUp(name);
  if (!found) throw new RangeError(`${name} is not in the table`);
  return found;
}

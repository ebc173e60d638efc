// Prints which line of its source a line of a compiled file comes of, as a module with `lines` for postern.mjs. Its arguments are the maps that the
// TypeScript compiler makes with --sourceMap (ECMA-426). No path gets into the rule, but the names of its files.
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const entries = process.argv.slice(2).map((path) => {
  const { file, sources, mappings } = JSON.parse(readFileSync(path, "utf8"));
  return [file, { source: basename(sources[0]), lines: lines(mappings) }];
});
console.log(`export const lines = ${JSON.stringify(Object.fromEntries(entries))};`);

/** The line of the source for each compiled line, which is that of the first thing in it; both count from 1. */
function lines(mappings) {
  const lines = [];
  // Each mapping says how far it is from the one before it, also from that of another line.
  let line = 0;
  mappings.split(";").forEach((segments, index) => {
    for (const segment of segments.split(",")) {
      const [, source, distance] = numbers(segment);
      if (source === undefined) continue;
      line += distance;
      lines[index + 1] ??= line + 1;
    }
  });
  return lines;
}

/** The numbers of a mapping: digits of 5 bits, the lowest first, each with a bit that says whether more follow; the lowest bit is the sign. */
function numbers(segment) {
  const found = [];
  let value = 0;
  let shift = 0;
  for (const character of segment) {
    const digit = DIGITS.indexOf(character);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    found.push(value & 1 ? -(value >> 1) : value >> 1);
    value = 0;
    shift = 0;
  }
  return found;
}

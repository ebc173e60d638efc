// Makes a rule say why it fails. The interpreter's own words never reach the daemon, as a rule has no standard error. So what a rule throws goes to
// the log as an error, with its line, and the daemon takes it from there into its report of the fault. It changes no answer; but one that is not of
// the contract's types fails with words too, where the interpreter would trap without any, or cut a number to one that was not meant. Nor has a rule a
// console or a clock: here it gets the one, and words instead of the other.
import { log } from "postern:rule/host@0.2.0";

/** Most characters of a message, so that the place behind it is not cut off. */
const LONGEST_MESSAGE = 300;

/** What the engine throws by itself. Any other error is one that the rule's author throws on purpose. */
const ENGINE_ERRORS = [
  AggregateError,
  EvalError,
  InternalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
];

/**
 * The two functions of a rule's module, as ones that say why they fail.
 *
 * Where a compiler has made the files, `lines` has the line of the source for each of theirs: `{ "knock.js": { source: "knock.ts", lines: [...] } }`.
 *
 * Throws if the module lacks one of the functions.
 */
export function reportFailures(rule, lines = {}) {
  for (const name of ["configure", "judge"]) {
    if (typeof rule[name] !== "function") throw new TypeError(`the rule exports no function \`${name}\``);
  }
  replaceWhatIsMissing();
  const report = (error) => log("error", describe(error, lines));
  return {
    configure(settings) {
      try {
        return checked("configure", interest, rule.configure(settings));
      } catch (error) {
        const refusal = refusalIn(error);
        if (refusal !== undefined) throw refusal;
        report(error);
        // Whatever is thrown here is taken for a refusal. This is no answer, and traps.
        return undefined;
      }
    },
    judge(knock, memory) {
      try {
        return checked("judge", verdict, rule.judge(knock, memory));
      } catch (error) {
        report(error);
        throw error;
      }
    },
  };
}

/** What the author of the settings is to read, if that is what was thrown. */
function refusalIn(error) {
  if (typeof error === "string") return error;
  const isRefusal = error instanceof Error && !ENGINE_ERRORS.some((kind) => error instanceof kind);
  return isRefusal ? String(error.message) : undefined;
}

/** What was thrown, and where, in a line. */
function describe(error, lines) {
  try {
    if (typeof error === "string") return oneLine(error) || "an empty text was thrown";
    if (!(error instanceof Error)) return `${show(error)} was thrown`;
    const message = oneLine(error.message);
    const what = message ? `${kindOf(error)}: ${message}` : `${kindOf(error)} without a message`;
    return what + place(error.stack, error.constructor.name, lines);
  } catch {
    return "something was thrown that cannot be described";
  }
}

/** A class that extends `Error` leaves it the name. */
const kindOf = (error) => (error.name === "Error" ? error.constructor.name : error.name);

function oneLine(text) {
  const line = String(text).trim().replace(/\s+/g, " ");
  return line.length > LONGEST_MESSAGE ? `${line.slice(0, LONGEST_MESSAGE)}...` : line;
}

/** The innermost line of the rule's own that a stack has, "    at matches (/knock.js:12:7)"; that of the error's own constructor is none. */
function place(stack, kind, lines) {
  for (const [, caller, file, line] of String(stack).matchAll(/at (.+) \(\/(.+):(\d+):\d+\)/g)) {
    if (file === "postern.mjs" || caller === kind) continue;
    const made = lines[file];
    return made?.lines[line] ? ` (${made.source}:${made.lines[line]})` : ` (${file}:${line})`;
  }
  return "";
}

/** A rule has no standard output and no clock: what is written to the console goes to the log, and to read a clock fails with words. */
function replaceWhatIsMissing() {
  const levels = { debug: "debug", log: "info", info: "info", warn: "warn", error: "error" };
  const writer = (level) => (...values) => log(level, values.map(written).join(" "));
  globalThis.console = Object.fromEntries(Object.entries(levels).map(([name, level]) => [name, writer(level)]));

  const now = () => {
    throw new TypeError("a rule has no clock; the time is `knock.time`");
  };
  const Clock = Date;
  globalThis.Date = class Date extends Clock {
    constructor(...values) {
      if (values.length === 0) now();
      super(...values);
    }
    static now = now;
    static [Symbol.hasInstance](value) {
      return Clock[Symbol.hasInstance](value);
    }
  };
  globalThis.performance = { now };
}

/** A value as the console has it. */
function written(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${kindOf(value)}: ${value.message}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** What a function of the rule answered, if it is of the type that it must be. */
function checked(name, type, answer) {
  const mistake = type(answer);
  if (mistake === undefined) return answer;
  const isWhole = mistake.startsWith(IS);
  const what = isWhole ? mistake.slice(IS.length) : `a wrong answer: ${mistake.replace(/^\./, "")}`;
  const error = new TypeError(`\`${name}\` returned ${what}`);
  // It arose in the rule, nobody knows where.
  error.stack = "";
  throw error;
}

// The types of the contract that a rule answers with. Each is a function: of a value, to undefined if that is right, and else to what is wrong.

const IS = " is ";
const wrong = (value, wanted) => `${IS}${show(value)}, not ${wanted}`;

/** A value, or what it is, for a message. */
function show(value) {
  if (typeof value === "string") return oneLine(JSON.stringify(value));
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  if (value instanceof Promise) return "a promise, as it is `async`";
  return Array.isArray(value) ? "an array" : `an object (${value.constructor?.name})`;
}

const none = () => undefined;
const bool = (value) => (typeof value === "boolean" ? undefined : wrong(value, "true or false"));
const string = (value) => (typeof value === "string" ? undefined : wrong(value, "a text"));

const integer = (most) => (value) =>
  typeof value === "number" && value >= 0 && value <= most && value % 1 === 0
    ? undefined
    : wrong(value, `an integer from 0 to ${most}`);
const u8 = integer(0xff);
const u16 = integer(0xffff);
const u32 = integer(0xffffffff);
const u64 = integer(Number.MAX_SAFE_INTEGER);

const option = (type) => (value) => (value === null || value === undefined ? undefined : type(value));

const list = (type) => (value) => {
  if (!Array.isArray(value)) return wrong(value, "an array");
  for (let i = 0; i < value.length; i++) {
    const mistake = type(value[i]);
    if (mistake !== undefined) return `[${i}]${mistake}`;
  }
  return undefined;
};
const octets = list(u8);
const bytes = (value) => {
  if (value instanceof Uint8Array) return undefined;
  return Array.isArray(value) ? octets(value) : wrong(value, "a Uint8Array");
};
const tuple = (type, length) => (value) =>
  Array.isArray(value) && value.length === length ? list(type)(value) : wrong(value, `an array of ${length}`);

const record = (fields) => {
  const names = Object.keys(fields);
  const types = Object.values(fields);
  return (value) => {
    if (typeof value !== "object" || value === null) return wrong(value, "an object");
    for (let i = 0; i < names.length; i++) {
      const mistake = types[i](value[names[i]]);
      if (mistake !== undefined) return `.${names[i]}${mistake}`;
    }
    return undefined;
  };
};

const variant = (cases) => {
  const types = new Map(Object.entries(cases));
  const names = either(Object.keys(cases));
  const tags = `an object with the tag ${names}`;
  return (value) => {
    if (typeof value !== "object" || value === null) return wrong(value, tags);
    const type = types.get(value.tag);
    if (type === undefined) {
      return value.tag === undefined ? wrong(value, tags) : `.tag${wrong(value.tag, names)}`;
    }
    const mistake = type(value.val);
    return mistake === undefined ? undefined : `.val${mistake}`;
  };
};
const enumeration = (...names) => (value) => (names.includes(value) ? undefined : wrong(value, either(names)));
const flags = (...names) => (value) => {
  if (typeof value !== "object" || value === null) return wrong(value, "an object");
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  return unknown === undefined ? undefined : ` has ${show(unknown)}, which is none of ${names.join(", ")}`;
};
const either = (names) => `${names.slice(0, -1).map(show).join(", ")} or ${show(names[names.length - 1])}`;

const transport = enumeration("tcp", "udp", "icmp", "icmpv6");
const tcpFlags = flags("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr");
const address = variant({ v4: u32, v6: tuple(u32, 4) });
const prefix = record({ address: address, length: u8 });
const watch = record({ transport: transport, firstPort: u16, lastPort: u16, flagsSet: tcpFlags, flagsClear: tcpFlags });
const destination = variant({ "this-host": none, anywhere: none, within: list(prefix) });
const interest = record({
  watches: list(watch),
  destination: destination,
  payloadLimit: u32,
  tcpHeader: bool,
  memoryFormat: u32,
});
const progress = record({ stage: u32, memory: bytes, until: u64 });
const token = record({ bytes: bytes, until: option(u64) });
const counter = record({ key: bytes, value: u64 });
const once = variant({ token: token, counter: counter });
const openRequest = record({ once: option(once), door: option(string), seconds: option(u32), prefixLength: option(u8) });
const closeRequest = record({ door: option(string), prefixLength: option(u8) });
const openVerdict = record({ requests: list(openRequest), remember: option(progress) });
const closeVerdict = record({ requests: list(closeRequest), remember: option(progress) });
const verdict = variant({ ignore: none, remember: progress, forget: string, open: openVerdict, close: closeVerdict });

// A datagram opens the first door in office hours, and no longer than to their end.
import {
  Configured, Interest, Knock, OpenRequest, Setting, Transport, Verdict, Watch,
  accept, forget, ignore, open, readSettings, refuse,
} from "../../../guest-sdk/assemblyscript/postern";

export { cabi_realloc } from "../../../guest-sdk/assemblyscript/postern";

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/** In minutes. */
const WEEK: i32 = 7 * 24 * 60;
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/** What stands for no time of day. */
const NONE: i32 = -1;

let watch: Watch = new Watch(Transport.UDP, 0, 0);
/** On which days of the week, from Sunday on. */
let isOpen: StaticArray<bool> = new StaticArray<bool>(7);
/** Minutes of the day. */
let from: i32 = NONE;
let to: i32 = NONE;
/** Minutes that local time is ahead of UTC; below 0 if it is behind. */
let offset: i32 = 0;

export function configure(place: usize, length: usize): Configured {
  const settings = readSettings(place, length);
  let hasDays = false;
  for (let i = 0; i < settings.length; i++) {
    const setting = settings[i];
    if (setting.name == "port") {
      const port = readPort(setting.value);
      watch = new Watch(Transport.UDP, port, port);
    } else if (setting.name == "days") {
      hasDays = readDays(setting);
      if (!hasDays) return refuse('days: write some of "mon tue wed thu fri sat sun", a blank apart');
    } else if (setting.name == "from") {
      from = readTime(setting.text);
    } else if (setting.name == "to") {
      to = readTime(setting.text);
    } else if (setting.name == "offset") {
      const minutes = readOffset(setting.text);
      if (minutes == DAY) return refuse('offset: write how far local time is ahead of UTC, such as "+01:00" or "-05:30"');
      offset = minutes as i32;
    } else {
      return refuse(`${setting.name}: unknown; the settings are port, days, from, to and offset`);
    }
  }
  if (watch.firstPort == 0) return refuse("port: write the UDP port that is knocked at, 1 to 65535");
  if (!hasDays) return refuse('days is missing; write some of "mon tue wed thu fri sat sun"');
  if (from == NONE) return refuse('from: write when the office opens, such as "08:00"');
  if (to == NONE) return refuse('to: write when it closes, such as "18:00", "24:00" at most');
  if (to <= from) return refuse("to: must be later than `from`; for a night write two rules, one up to 24:00");
  return accept(new Interest([watch]));
}

/** A port; 0 if it is anything else. */
function readPort(text: string): u16 {
  const port = text.length <= 5 ? readNumber(text) : NONE;
  return port > 0 && port <= 0xffff ? (port as u16) : 0;
}

/** Digits; NONE if it is anything else. */
function readNumber(text: string): i32 {
  let number = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return NONE;
    number = number * 10 + digit;
  }
  return text.length > 0 ? number : NONE;
}

/** Takes "mon tue wed"; false if it is anything else. */
function readDays(setting: Setting): bool {
  const text = setting.text;
  if (!text) return false;
  const names = text.split(" ");
  for (let i = 0; i < names.length; i++) {
    const day = DAYS.indexOf(names[i]);
    if (day < 0) return false;
    isOpen[day] = true;
  }
  return true;
}

/** The minutes of "08:30", up to "24:00"; NONE if it is anything else. */
function readTime(text: string | null): i32 {
  if (!text || text.length != 5 || text.charAt(2) != ":") return NONE;
  const hours = readNumber(text.slice(0, 2));
  const minutes = readNumber(text.slice(3));
  if (hours < 0 || minutes < 0 || minutes > 59) return NONE;
  const time = hours * 60 + minutes;
  return time <= 24 * 60 ? time : NONE;
}

/** The minutes of "+01:00"; a day, which no place on earth is ahead, if it is anything else. */
function readOffset(text: string | null): i64 {
  const minutes = text ? readTime(text.slice(1)) : NONE;
  if (!text || minutes < 0 || minutes > 14 * 60) return DAY;
  return text.startsWith("+") ? minutes : text.startsWith("-") ? -minutes : (DAY as i64);
}

export function judge(knock: Knock): Verdict {
  if (!watch.matches(knock)) return ignore();
  // With a week more, which changes no day of the week, it is never before 1970, where a machine without a clock begins.
  const local = knock.time / 1_000_000 + ((offset + WEEK) as u64) * MINUTE;
  // 1970-01-01 was a Thursday.
  const day = ((local / DAY + 4) % 7) as i32;
  const second = (local % DAY) as i32;
  if (!isOpen[day] || second < from * 60 || second >= to * 60) {
    return forget(`${DAYS[day]} ${twoDigits(second / 3600)}:${twoDigits((second / 60) % 60)} is out of office hours`);
  }
  // At most as long as the rule's file says; and to the end of the hours.
  const request = new OpenRequest();
  request.seconds = to * 60 - second;
  return open([request]);
}

function twoDigits(number: i32): string {
  return number.toString().padStart(2, "0");
}

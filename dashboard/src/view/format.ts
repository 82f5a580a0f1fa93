/** Numbers and times as people read them. Instants are ms; nothing here asks for the time. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayName = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const count = (value: number): string => whole.format(value);
export const clockTime = (ms: number): string => clock.format(ms);
export const fullTime = (ms: number): string => full.format(ms);

/** "14:02:11" today, "13 Jan, 14:02" before. */
export function when(ms: number, now: number): string {
  const sameDay = new Date(ms).toDateString() === new Date(now).toDateString();
  return sameDay ? clock.format(ms) : `${dayName.format(ms)}, ${minute.format(ms)}`;
}

/** "18:00 New York", "16 Jan, 18:00 New York": as a clock on the wall of that zone shows it; without one, ours. */
export function wallTime(ms: number, now: number, zone: string | null): string {
  const at = (options: Intl.DateTimeFormatOptions, of: number) =>
    new Intl.DateTimeFormat("en-GB", { ...options, ...(zone !== null && { timeZone: zone }) }).format(of);
  const day: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };
  const sameDay = at({ ...day, year: "numeric" }, ms) === at({ ...day, year: "numeric" }, now);
  const time = at({ hour: "2-digit", minute: "2-digit" }, ms);
  const place = zone === null ? "" : ` ${zone.slice(zone.lastIndexOf("/") + 1).replaceAll("_", " ")}`;
  return `${sameDay ? "" : `${at(day, ms)}, `}${time}${place}`;
}

/** "0.4 s", "42 s", "3 m 05 s", "2 h 07 m", "3 d 4 h". Tenths only below ten seconds, and where asked for. */
export function duration(seconds: number, tenths = true): string {
  const rest = Math.max(0, seconds);
  if (rest < 9.95 && tenths) return `${rest.toFixed(1)} s`;
  if (Math.floor(rest) < MINUTE) return `${Math.floor(rest)} s`;
  if (rest < HOUR) return `${Math.floor(rest / MINUTE)} m ${two((rest % MINUTE) | 0)} s`;
  if (rest < DAY) return `${Math.floor(rest / HOUR)} h ${two(((rest % HOUR) / MINUTE) | 0)} m`;
  return `${Math.floor(rest / DAY)} d ${Math.floor((rest % DAY) / HOUR)} h`;
}

/** "in 2 h 00 m", "3 m 05 s ago". */
export function relative(ms: number, now: number): string {
  const seconds = (ms - now) / 1000;
  return seconds >= 0 ? `in ${duration(seconds, false)}` : `${duration(-seconds, false)} ago`;
}

export function delay(seconds: number): string {
  return seconds < 9.95 ? `${Math.max(0.1, seconds).toFixed(1)} s` : duration(seconds, false);
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

// Times and amounts as people read them. A time is seconds since the page's first moment.

const CLOCK_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
  3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
];

function makeClock(facts) {
  // Whole milliseconds of the clock shown, and the rest: no digit of a microsecond is lost.
  const base = Math.floor((facts.first + facts.offset) / 1000);
  const rest = (facts.first + facts.offset) % 1000;
  const micros = (time) => {
    const all = Math.round(time * 1e6) + rest;
    const whole = Math.floor(all / 1000);
    return [new Date(base + whole), all - whole * 1000];
  };
  const clock = {
    // 06:02:25.524205: `digits` of the second, cut off.
    time(time, digits = 3) {
      const [date, micro] = micros(time);
      const text = date.toISOString().slice(11, 23) + String(micro).padStart(3, "0");
      return digits ? text.slice(0, 9 + digits) : text.slice(0, 8);
    },
    day: (time) => micros(time)[0].toISOString().slice(0, 10),
    // The shortest text that is exact, for replay: 2026-11-21T06:02:25.524205+00:00.
    iso(time) {
      const sign = facts.offset < 0 ? "-" : "+";
      const minutes = Math.abs(facts.offset) / 6e7;
      const two = (number) => String(Math.floor(number)).padStart(2, "0");
      return `${clock.day(time)}T${clock.time(time, 6)}${sign}${two(minutes / 60)}:${two(minutes % 60)}`;
    },
    // Round times from one to another, at most so many.
    ticks(low, high, most) {
      const least = (high - low) / Math.max(1, most);
      const step = CLOCK_STEPS.find((one) => one >= least) ?? Math.ceil(least / 604800) * 604800;
      const ahead = ((facts.first + facts.offset) / 1e6) % Math.max(step, 1);
      const found = [];
      for (let at = Math.ceil((low + ahead) / step) * step - ahead; at <= high; at += step) found.push(at);
      return found;
    },
    label(time, step) {
      if (step >= 86400) return clock.day(time);
      const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
      const text = clock.time(time + 1e-7, digits);
      return step >= 60 ? text.slice(0, 5) : text;
    },
  };
  return clock;
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

function amount(value, unit) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (unit === "us") {
    return size >= 1e6
      ? `${short.format(size / 1e6)} s`
      : size >= 1e3
        ? `${short.format(size / 1e3)} ms`
        : `${short.format(size)} µs`;
  }
  if (unit.startsWith("bytes")) {
    const tail = unit.slice(5);
    const [by, name] =
      size >= 1e9 ? [1e9, "GB"] : size >= 1e6 ? [1e6, "MB"] : size >= 1e3 ? [1e3, "kB"] : [1, "B"];
    return `${short.format(size / by)} ${name}${tail}`;
  }
  return plain.format(size) + (unit === "/s" ? "/s" : "");
}

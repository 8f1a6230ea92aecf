// SPDX-License-Identifier: MIT OR Apache-2.0
// Numbers for people: three digits and a unit, as `xvs top` writes them.

function scaled(number, base, units) {
  let unit = 0;
  let value = number;
  while (value >= 999.5 && unit + 1 < units.length) {
    value /= base;
    unit += 1;
  }
  if (unit === 0) return String(number) + units[0];
  const digits = value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
  return digits + units[unit];
}

export const count = (number) => scaled(number, 1000, ["", "k", "M", "G", "T", "P", "E"]);
export const bytes = (number) => scaled(number, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"]);

export function duration(seconds) {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))}s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

// Bytes, and JSON as docs/sealed-format.md reads and writes it: what is not allowed is refused, never repaired.

/** What was read is not of the form that it must have. */
export class Malformed extends Error {}

export function check(good, why) {
  if (!good) throw new Malformed(why);
}

export const utf8 = (text) => new TextEncoder().encode(text);
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

/** Whether two arrays of bytes are equal; how long it takes does not tell where they differ. */
export function same(a, b) {
  return a.length === b.length && a.reduce((sum, byte, index) => sum | (byte ^ b[index]), 0) === 0;
}

/** Read JSON of integers only, with no member twice, at most 16 levels deep. `JSON.parse` tells none of these. */
export function parseJson(bytes, limit, containers) {
  check(bytes.length <= limit, `it has ${bytes.length} bytes, more than ${limit}`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed("it is no UTF-8");
  }
  const BLANK = /[ \t\n\r]*/y, WORD = /-?\d[\d.eE+-]*|true|false|null/y, INTEGER = /^-?(?:0|[1-9]\d*)$/;
  let at = 0, count = 0;

  const blank = () => { BLANK.lastIndex = at; BLANK.exec(text); at = BLANK.lastIndex; };
  const take = (mark) => { blank(); const found = text[at] === mark; at += found; return found; };
  const need = (mark) => check(take(mark), `no JSON: no ${mark} at character ${at}`);

  function string() {
    const begin = at++;
    while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    let value;
    try {
      value = JSON.parse(text.slice(begin, ++at));
    } catch {
      throw new Malformed(`no JSON: a bad text at character ${begin}`);
    }
    check(value.isWellFormed(), "a text holds half of a surrogate pair");
    return value;
  }

  function list(depth) {
    const items = [];
    if (take("]")) return items;
    do items.push(value(depth)); while (take(","));
    need("]");
    return items;
  }

  function object(depth) {
    const members = Object.create(null); // no member is there that was not written, `__proto__` neither
    if (take("}")) return members;
    do {
      blank();
      check(text[at] === '"', `no JSON: no name at character ${at}`);
      const name = string();
      check(!(name in members), "an object has a member twice");
      need(":");
      members[name] = value(depth);
    } while (take(","));
    need("}");
    return members;
  }

  function value(depth) {
    blank();
    if (text[at] === '"') return string();
    if (text[at] === "[" || text[at] === "{") {
      check(depth < 16 && ++count <= containers, "it has too many lists and objects, or too deep ones");
      return text[at++] === "[" ? list(depth + 1) : object(depth + 1);
    }
    WORD.lastIndex = at;
    const [word] = WORD.exec(text) ?? [""];
    at += word.length;
    if (word === "true" || word === "false" || word === "null") return JSON.parse(word);
    const number = Number(word);
    check(INTEGER.test(word) && Number.isSafeInteger(number) && !Object.is(number, -0), `no integer at character ${at}`);
    return number;
  }

  const whole = value(0);
  blank();
  check(at === text.length, `no JSON: there is more after character ${at}`);
  return whole;
}

/** Write JSON in its canonical form (RFC 8785). */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

export function asObject(value, members, where) {
  check(value !== null && typeof value === "object" && !Array.isArray(value), `${where} is no object`);
  const names = Object.keys(value);
  check(names.length === members.length && members.every((name) => names.includes(name)), `${where} has not exactly the members ${members}`);
  return value;
}

export function asList(value, where) {
  check(Array.isArray(value), `${where} is no list`);
  return value;
}

export function asText(value, pattern, where) {
  check(typeof value === "string" && pattern.test(value), `${where} is not of the form that it must have`);
  return value;
}

export function asInteger(value, where) {
  check(Number.isSafeInteger(value) && value >= 0, `${where} is no integer from 0 to 2^53-1`);
  return value;
}

export function asConstant(value, wanted, where) {
  check(value === wanted, `${where} is not ${JSON.stringify(wanted)}`);
}

/** Read standard base64 with padding, in its one canonical form. */
export function asBase64(value, where) {
  asText(value, /^[A-Za-z0-9+/]*={0,2}$/, where);
  let raw;
  try {
    raw = atob(value);
  } catch {
    throw new Malformed(`${where} is no base64`);
  }
  check(btoa(raw) === value, `${where} is not in the canonical form of base64`);
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

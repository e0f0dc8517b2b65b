// keys.age: an age file (https://c2sp.org/age) of 32 bytes, opened by an X25519 identity. The bounds: docs/sealed-format.md.
import { check, hex, join, Malformed, same, utf8 } from "./strict.mjs";

export const MOST = 2 ** 14; // bytes of keys.age
const VERSION = "age-encryption.org/v1\n", PAYLOAD = 16 + 32 + 16; // nonce, data key, tag
const EMPTY = new Uint8Array(0);

/** Read the header of an age file, and check all that costs work, before any key is tried. */
export function readAge(raw) {
  check(raw.length <= MOST, `it has ${raw.length} bytes, more than ${MOST}`);
  const text = Array.from(raw, (byte) => String.fromCharCode(byte)).join("");
  check(!text.startsWith("-----BEGIN"), "it is armored");
  check(text.startsWith(VERSION), "it is no age file of version 1");
  let at = VERSION.length;
  const line = () => {
    const begin = at, end = text.indexOf("\n", at);
    check(end >= 0, "its header is cut short");
    at = end + 1;
    return text.slice(begin, end);
  };
  const stanzas = [];
  let next = line();
  for (; !next.startsWith("---"); next = line()) {
    check(stanzas.length < 128, "it has more than 128 stanzas");
    check(/^->(?: [\x21-\x7e]+)+$/.test(next), "a stanza does not begin with an arrow and its kind");
    const [, kind, ...args] = next.split(" ");
    if (kind === "scrypt") check(args.length === 2 && /^[1-9]\d?$/.test(args[1]) && args[1] <= 22, "its passphrase stanza asks for too much");
    const body = [];
    do body.push(line()); while (/^[A-Za-z0-9+/]{64}$/.test(body.at(-1)));
    check(/^[A-Za-z0-9+/]{0,63}$/.test(body.at(-1)), "the body of a stanza is damaged");
    stanzas.push({ kind, args, body: unpadded(body.join("")) });
  }
  check(stanzas.length > 0 && /^--- [A-Za-z0-9+/]{43}$/.test(next), "it has no stanza, or no message authentication code");
  const passphrase = stanzas.some(({ kind }) => kind === "scrypt");
  check(!passphrase || stanzas.length === 1, "a passphrase stanza does not stand alone");
  check(raw.length - at === PAYLOAD, `its payload has ${raw.length - at} bytes, not the ${PAYLOAD} of a data key`);
  const signed = raw.subarray(0, at - 45); // up to the three dashes; " ", MAC and the line's end follow
  return { stanzas, passphrase, signed, mac: unpadded(next.slice(4), 32), payload: raw.subarray(at) };
}

/** Open an age file with the identities in a text. `unavailable(why)` is called, and throws, if none can be used. */
export async function openAge(age, text, unavailable) {
  if (age.passphrase) return unavailable("keys.age is opened by a passphrase, which this reader does not do");
  const lines = text.split(/\r?\n/).map((one) => one.trim()).filter((one) => one && !one.startsWith("#"));
  if (!lines.length) return unavailable("there is no identity");
  const identities = await Promise.all(lines.map((one) => identityOf(one).catch(() => unavailable("a line is no identity of age"))));
  for (const { args, body } of age.stanzas.filter(({ kind }) => kind === "X25519")) {
    const share = unpadded(args[0] ?? "", 32);
    check(body.length === 32, "an X25519 stanza wraps no file key");
    check(args.length === 1, "an X25519 stanza has too many arguments");
    for (const { secret, recipient } of identities) {
      const shared = await agree(secret, share);
      const key = await hkdf(shared, join(share, recipient), "age-encryption.org/v1/X25519");
      const fileKey = openChaCha(key, new Uint8Array(12), body);
      if (fileKey) return dataKey(age, fileKey);
    }
  }
  return null;
}

/** A stanza has given the file key: what is wrong from now on is damage. */
async function dataKey(age, fileKey) {
  const macKey = await hkdf(fileKey, EMPTY, "header");
  const hmac = await crypto.subtle.importKey("raw", macKey, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, age.signed));
  check(same(age.mac, mac), "its header was changed");
  const key = await hkdf(fileKey, age.payload.subarray(0, 16), "payload");
  const last = new Uint8Array(12);
  last[11] = 1; // STREAM: the first chunk, and the last one
  const opened = openChaCha(key, last, age.payload.subarray(16));
  check(opened, "its payload was changed");
  return opened;
}

/** Decode base64 in its one form, of stanzas of other kinds, too; `length`: bytes, where these are known. */
function unpadded(text, length) {
  let raw = "";
  try { raw = atob(text + "=".repeat(-text.length & 3)); } catch { /* told below */ }
  check((length ?? raw.length) === raw.length && btoa(raw).replace(/=+$/, "") === text, "it holds base64 of another length or form");
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

async function hkdf(key, salt, info) {
  const base = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info: utf8(info) }, base, 256));
}

async function agree(secret, share) {
  const other = await crypto.subtle.importKey("raw", share, "X25519", false, []);
  try {
    return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: other }, secret, 256));
  } catch {
    throw new Malformed("a stanza's share is a point of small order"); // WebCrypto refuses a secret of zeros
  }
}

/** AGE-SECRET-KEY-1…: 32 bytes in Bech32 (BIP 173). */
async function identityOf(text) {
  const CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", PREFIX = "age-secret-key-";
  check(text === text.toUpperCase() && text.toLowerCase().startsWith(`${PREFIX}1`), "this is no identity of age");
  const digits = [...text.toLowerCase().slice(PREFIX.length + 1)].map((c) => CHARACTERS.indexOf(c));
  const prefix = [...PREFIX].map((c) => c.charCodeAt(0));
  let sum = 1;
  for (const digit of [...prefix.map((c) => c >> 5), 0, ...prefix.map((c) => c & 31), ...digits]) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ digit;
    [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].forEach((one, bit) => { if ((top >> bit) & 1) sum ^= one; });
  }
  const bits = digits.slice(0, -6).map((digit) => digit.toString(2).padStart(5, "0")).join("");
  check(!digits.includes(-1) && sum === 1 && digits.length === 58 && /^.{256}0{4}$/.test(bits), "this is no identity of age");
  const raw = Uint8Array.from(bits.slice(0, 256).match(/.{8}/g), (byte) => parseInt(byte, 2));
  const pkcs8 = join([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20], raw); // RFC 8410
  const secret = await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", false, ["deriveBits"]);
  const base = new Uint8Array(32);
  base[0] = 9; // the base point: with it, agreement gives the public key
  return { secret, recipient: await agree(secret, base) };
}

// --- ChaCha20-Poly1305 (RFC 8439), which WebCrypto lacks --------------------------------------------------------------
// For age's 32 and 48 bytes only: BigInt is slow, and takes time that depends on its numbers. Payloads are AES-GCM.

/** Return the plaintext, or null if the tag is wrong. */
export function openChaCha(key, nonce, sealed, aad = EMPTY) {
  const text = sealed.subarray(0, sealed.length - 16), tag = sealed.subarray(sealed.length - 16);
  const block = (counter) => chachaBlock(key, nonce, counter);
  const padded = (part) => join(part, new Uint8Array(-part.length & 15));
  const sizes = new DataView(new ArrayBuffer(16));
  sizes.setUint32(0, aad.length, true);
  sizes.setUint32(8, text.length, true);
  const authenticated = join(padded(aad), padded(text), new Uint8Array(sizes.buffer));
  if (sealed.length < 16 || !same(poly1305(block(0).subarray(0, 32), authenticated), tag)) return null;
  const stream = join(...Array.from({ length: Math.ceil(text.length / 64) }, (_, index) => block(1 + index)));
  return text.map((byte, index) => byte ^ stream[index]);
}

export function chachaBlock(key, nonce, counter) {
  const words = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(4 * i, true));
  const start = Uint32Array.from([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...words(key), counter, ...words(nonce)]);
  const x = start.slice();
  const mix = (a, b, c, turn) => { x[a] += x[b]; const y = x[c] ^ x[a]; x[c] = (y << turn) | (y >>> (32 - turn)); };
  const quarter = (a, b, c, d) => { mix(a, b, d, 16); mix(c, d, b, 12); mix(a, b, d, 8); mix(c, d, b, 7); };
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 4; i++) quarter(i, 4 + i, 8 + i, 12 + i);
    for (let i = 0; i < 4; i++) quarter(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4));
  }
  const out = new DataView(new ArrayBuffer(64));
  x.forEach((word, i) => out.setUint32(4 * i, word + start[i], true));
  return new Uint8Array(out.buffer);
}

export function poly1305(key, message) {
  const number = (bytes) => BigInt(`0x0${hex(Uint8Array.from(bytes).reverse())}`);
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn, s = number(key.subarray(16, 32));
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) sum = ((sum + number(join(message.subarray(at, at + 16), [1]))) * r) % (2n ** 130n - 5n);
  const digits = ((sum + s) % 2n ** 128n).toString(16).padStart(32, "0");
  return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16)).reverse();
}

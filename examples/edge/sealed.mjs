// Opens sealed artifacts in a browser: WebCrypto, no dependencies. The format: docs/sealed-format.md.
//
//     import { Trust, fromUrl, verify } from "./sealed.mjs";
//     const trust = await Trust.of([pem], { screening: { minSerial: 42 } });
//     const artifact = await verify(fromUrl("/models/screening/"), trust, { name: "screening", version: "v3" });
//     await artifact.unlock({ identity: "AGE-SECRET-KEY-1…" });    // or { dataKey: 32 bytes }
//     const weights = await artifact.read("model.onnx");           // a Uint8Array; nothing before all of it has passed
//
// What comes in is a source: `blob(name)` gives a Blob or null, `names()` what lies there, or null if nobody can tell.
import { MOST as MOST_AGE, openAge, readAge } from "./age.mjs";
import {
  asBase64, asConstant, asInteger, asList, asObject, asText, canonical, check, fromHex, hex, join, Malformed, parseJson,
  same, utf8,
} from "./strict.mjs";

const FORMAT = "bento-rollout/sealed/v1";
const SEGMENT = 2 ** 20, OVERHEAD = 32, HEADER = 74; // bytes: a whole segment, what of it is no plaintext, FLOE's header
const TAG = /^[a-z0-9](?:[-._a-z0-9]{0,61}[a-z0-9])?$/, HASH = /^[0-9a-f]{64}$/, ID = /^[0-9a-f]{32}$/;
const FLOE_HEADER = /^00000010000000000020[0-9a-f]{128}$/; // AES-256-GCM, HKDF-SHA384, segments of 1 MiB, an IV of 32 bytes
const SERVICE = /^[A-Za-z0-9](?:[-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$/, RECIPIENT = /^age1[a-z0-9]{1,4000}$/;

// Each error is named as in Python, with the exit code that the command line gives it.
export class ArtifactError extends Error { // itself: what lies there cannot be read
  static exitCode = 1;
  get name() { return this.constructor.name; }
  get exitCode() { return this.constructor.exitCode; }
}
export class ArtifactNotFound extends ArtifactError { static exitCode = 3; }
export class SignatureInvalid extends ArtifactError { static exitCode = 10; }
export class KeyUnavailable extends ArtifactError { static exitCode = 11; }
export class ArtifactCorrupt extends ArtifactError { static exitCode = 12; }
export class PolicyViolated extends ArtifactError { static exitCode = 13; }

/** Do what may find something malformed, and tell it as one kind of error. */
async function telling(Kind, where, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Malformed) throw new Kind(`${where}: ${error.message}`);
    throw error;
  }
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

async function bytesOf(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch (error) {
    throw new ArtifactError(`a file cannot be read, or has changed since it was chosen: ${error.message}`);
  }
}

// --- where files are from ---------------------------------------------------------------------------------------------

/** The files below an address. Nobody lists them: what no signature names is never asked for. */
export function fromUrl(address) {
  const base = new URL(address, globalThis.location?.href);
  return {
    names: () => null,
    async blob(name) {
      try {
        const answer = await fetch(new URL(name, base));
        if (answer.ok) return await answer.blob();
        if (answer.status === 404) return null;
        throw new Error(`the server answers ${answer.status}`);
      } catch (error) {
        throw new ArtifactError(`${name} cannot be read: ${error.message}`);
      }
    },
  };
}

/** Files by their names within the artifact (`sealed.sig`, `sealed/manifest.json`, …): a Map of Blobs. */
export const fromFiles = (files) => ({ names: () => [...files.keys()], blob: async (name) => files.get(name) ?? null });

async function small(source, name, limit, Kind) {
  const blob = await source.blob(name);
  if (blob && blob.size > limit) throw new Kind(`${name} has ${blob.size} bytes, more than ${limit}`);
  return blob && bytesOf(blob);
}

// --- 1. whom to trust -------------------------------------------------------------------------------------------------

/** Pinned P-256 keys, and for each model by name: `minSerial`, `artifactId` (of that very serial), `notAfter` (a Date). */
export class Trust {
  static async of(pems, models = {}) {
    if (!pems?.length) throw new PolicyViolated("no public key is trusted: nothing is opened without one");
    const trust = new Trust();
    trust.models = new Map(Object.entries(models));
    await telling(PolicyViolated, "the trust", () => trust.models.forEach(checkAsked));
    trust.keys = await Promise.all(pems.map(publicKey));
    return trust;
  }

  check(manifest, now = new Date()) {
    const { minSerial = 0, artifactId, notAfter } = this.models.get(manifest.name) ?? {};
    const refuse = (why) => { throw new PolicyViolated(`${manifest.name}:${manifest.version} ${why}`); };
    if (manifest.serial < minSerial) refuse(`has the serial ${manifest.serial}; at least ${minSerial} is asked for`);
    if (manifest.serial === minSerial && artifactId && artifactId !== manifest.artifact_id) refuse("is another artifact of a known serial");
    if (notAfter && !(now < notAfter)) refuse(`may not be opened since ${notAfter}`);
  }
}

/** Refuse what would ask for nothing because of a typing error. */
function checkAsked(asked, model) {
  const { minSerial = 0, artifactId = "0".repeat(32), notAfter = new Date(), ...others } = asked;
  check(!Object.keys(others).length, `${model}: ${Object.keys(others)[0]} is unknown; known are minSerial, artifactId, notAfter`);
  asInteger(minSerial, `${model}: minSerial`);
  asText(artifactId, ID, `${model}: artifactId`);
  check(notAfter instanceof Date && !Number.isNaN(notAfter.getTime()), `${model}: notAfter is no Date`);
}

async function publicKey(pem) {
  try {
    const [, body] = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(pem);
    const raw = Uint8Array.from(atob(body.replace(/\s/g, "")), (c) => c.charCodeAt(0));
    const key = await crypto.subtle.importKey("spki", raw, { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"]);
    const spki = btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.exportKey("spki", key))));
    const written = ["-----BEGIN PUBLIC KEY-----", ...spki.match(/.{1,64}/g), "-----END PUBLIC KEY-----", ""].join("\n");
    return { key, hint: hex(await sha256(utf8(written))) };
  } catch {
    throw new PolicyViolated("a pinned key is no P-256 public key in PEM (sign.pub.pem)");
  }
}

// --- 2. the signature -------------------------------------------------------------------------------------------------

/** Check `sealed.sig`, and return the SHA-256 (in hexadecimal) of each file of `sealed/`, by its name. */
export const verifySignature = (raw, trust) => telling(SignatureInvalid, "sealed.sig", async () => {
  const bundle = asObject(parseJson(raw, 2 ** 23, 16), ["mediaType", "verificationMaterial", "dsseEnvelope"], "the bundle");
  asConstant(bundle.mediaType, "application/vnd.dev.sigstore.bundle.v0.3+json", "mediaType");
  const material = asObject(bundle.verificationMaterial, ["publicKey", "tlogEntries"], "verificationMaterial");
  check(asList(material.tlogEntries, "tlogEntries").length === 0, "tlogEntries is not empty");
  const { hint } = asObject(material.publicKey, ["hint"], "publicKey");
  asText(hint, HASH, "hint");
  const envelope = asObject(bundle.dsseEnvelope, ["payload", "payloadType", "signatures"], "dsseEnvelope");
  asConstant(envelope.payloadType, "application/vnd.in-toto+json", "payloadType");
  check(asList(envelope.signatures, "signatures").length === 1, "there is not exactly one signature");
  const signature = asObject(envelope.signatures[0], ["sig", "keyid"], "the signature");
  asConstant(signature.keyid, "", "keyid");
  const der = asBase64(signature.sig, "sig"), payload = asBase64(envelope.payload, "payload");
  const pinned = trust.keys.find((key) => key.hint === hint);
  check(pinned, `it names the key ${hint.slice(0, 16)}…, which is not trusted here`);
  const signed = join(utf8(`DSSEv1 28 application/vnd.in-toto+json ${payload.length} `), payload);
  const good = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, pinned.key, fromDer(der), signed);
  check(good, "the signature is not by the key that it names, or not over this payload");
  return resourcesOf(payload);
});

/** A statement's resources, once the signature over it is valid. */
async function resourcesOf(payload) {
  const statement = asObject(parseJson(payload, 2 ** 23, 10_017), ["_type", "subject", "predicateType", "predicate"], "the statement");
  asConstant(statement._type, "https://in-toto.io/Statement/v1", "_type");
  asConstant(statement.predicateType, "https://model_signing/signature/v1.0", "predicateType");
  const predicate = asObject(statement.predicate, ["serialization", "resources"], "predicate");
  check(!Object.hasOwn(Object(predicate.serialization), "ignore_paths"), "it has ignore_paths: sign again with --no-ignore-git-paths");
  const how = asObject(predicate.serialization, ["method", "hash_type", "allow_symlinks"], "serialization");
  asConstant(how.method, "files", "method");
  asConstant(how.hash_type, "sha256", "hash_type");
  asConstant(how.allow_symlinks, false, "allow_symlinks");
  const resources = new Map(), found = asList(predicate.resources, "resources");
  check(found.length > 0 && found.length <= 10_001, "there are no resources, or too many");
  let before = null;
  for (const item of found) {
    const { name, algorithm, digest } = asObject(item, ["name", "algorithm", "digest"], "a resource");
    asConstant(algorithm, "sha256", "algorithm");
    const points = [...asText(name, /^/, "a resource's name")].map((c) => c.codePointAt(0));
    check(before === null || isLess(before, points), "resources are not sorted by name, or have one twice");
    resources.set(name, asText(digest, HASH, "a resource's digest"));
    before = points;
  }
  const whole = hex(await sha256(join(...[...resources.values()].map(fromHex))));
  const [subject, ...more] = asList(statement.subject, "subject");
  check(!more.length, "there are two subjects");
  asConstant(asObject(subject, ["name", "digest"], "subject").name, "sealed", "the subject's name");
  asConstant(asObject(subject.digest, ["sha256"], "the subject's digest").sha256, whole, "the subject's digest");
  return resources;
}

function isLess(a, b) {
  const at = a.findIndex((point, index) => point !== b[index]);
  return at < 0 ? a.length < b.length : at < b.length && a[at] < b[at];
}

/** WebCrypto wants r and s in 32 bytes each; DER has them as SEQUENCE { INTEGER, INTEGER }, each in its shortest form. */
function fromDer(der) {
  const first = 4 + der[3], second = first + 2;
  const whole = der[0] === 0x30 && der[1] === der.length - 2 && der[2] === 2 && der[first] === 2 && second + der[first + 1] === der.length;
  check(whole && der.length < 128, "the signature is no DER");
  return join(...[der.subarray(4, first), der.subarray(second)].map((number) => {
    const digits = number[0] === 0 && number[1] >= 128 ? number.subarray(1) : number; // a zero before a high bit: not negative
    const good = digits.length > 0 && digits.length <= 32 && (digits !== number || (number[0] > 0 && number[0] < 128));
    check(good, "the signature is no DER");
    return join(new Uint8Array(32 - digits.length), digits);
  }));
}

// --- 4. the manifest --------------------------------------------------------------------------------------------------

/** Read `sealed/manifest.json`, whose hash was in a valid signature. */
export const parseManifest = (raw) => telling(ArtifactCorrupt, "sealed/manifest.json", () => {
  const manifest = asObject(parseJson(raw, 2 ** 24, 20_002), ["artifact_id", "files", "format", "name", "serial", "version"], "it");
  asConstant(manifest.format, FORMAT, "format");
  asText(manifest.artifact_id, ID, "artifact_id");
  asText(manifest.name, TAG, "name");
  asText(manifest.version, TAG, "version");
  asInteger(manifest.serial, "serial");
  check(asList(manifest.files, "files").length > 0 && manifest.files.length <= 10_000, "it has no files, or too many");
  manifest.files.forEach((file, index) => {
    asObject(file, ["blob", "header", "path", "segments", "size"], `file ${index}`);
    asConstant(file.blob, `${String(index).padStart(4, "0")}.floe`, "blob");
    asText(file.header, FLOE_HEADER, "header");
    asInteger(file.size, "size");
    const count = Math.max(1, Math.ceil(file.size / (SEGMENT - OVERHEAD)));
    check(asList(file.segments, "segments").length === count, `${file.size} bytes do not make ${file.segments.length} segments`);
    file.segments.forEach((digest) => asText(digest, HASH, "a segment's hash"));
    check(isPath(asText(file.path, /^/, "path")), "a path cannot be");
  });
  checkCollisions(manifest.files.map((file) => file.path));
  check(same(utf8(canonical(manifest)), raw), "it is not in canonical form (RFC 8785)");
  return manifest;
});

function isPath(path) {
  const parts = path.split("/");
  const isPart = (part) => part !== "" && part !== "." && part !== ".." && utf8(part).length <= 255;
  return utf8(path).length <= 1024 && parts.every(isPart) && !/[\\\p{Cc}]/u.test(path) && path === path.normalize("NFC");
}

/** How a file system that ignores case and form may see a path: NFKC, full case folding, NFKC. */
export function folded(path) {
  // JavaScript has no case folding. Lower case of upper case is it, after the capital sharp s, and but for the dotless i.
  const fold = (c) => (c === "\u0131" ? c : c.toLowerCase().toUpperCase().toLowerCase());
  return [...path.normalize("NFKC")].map(fold).join("").normalize("NFKC");
}

function checkCollisions(paths) {
  const seen = new Set(), folders = new Set();
  for (const path of paths.map(folded)) {
    const above = path.split("/").slice(0, -1).map((_, end, parts) => parts.slice(0, end + 1).join("/"));
    check(!seen.has(path) && !folders.has(path) && !above.some((one) => seen.has(one)), "two paths collide");
    seen.add(path);
    above.forEach((one) => folders.add(one));
  }
}

// --- 8. the data key --------------------------------------------------------------------------------------------------

/** Read `keys.json`; nothing in it is trusted. */
export const parseKeysJson = (raw) => telling(ArtifactCorrupt, "keys.json", () => {
  const keys = asObject(parseJson(raw, 2 ** 18, 19), ["format", "kms", "recipients"], "it");
  const rising = (list) => list.every((one, index) => index === 0 || list[index - 1] < one);
  asConstant(keys.format, "bento-rollout/keys/v1", "format");
  asList(keys.recipients, "recipients").forEach((one) => asText(one, RECIPIENT, "a recipient"));
  for (const item of asList(keys.kms, "kms")) {
    const { blob, name } = asObject(item, ["blob", "name"], "a service");
    const { length } = asBase64(blob, "a blob");
    check(length > 0 && length <= 8192, `a blob has ${length} bytes`);
    asText(name, SERVICE, "a service's name");
  }
  check(keys.kms.length <= 16 && keys.recipients.length <= 128, "it lists too many");
  check(rising(keys.kms.map(({ name }) => name)) && rising(keys.recipients), "it is not sorted");
  check(same(utf8(canonical(keys)), raw), "it is not in canonical form (RFC 8785)");
  return keys;
});

/** Open `keys.age` with an identity (text, as `age-keygen` writes it). */
export async function openKeysAge(raw, identity) {
  const age = await telling(ArtifactCorrupt, "keys.age", () => readAge(raw));
  const unavailable = (why) => { throw new KeyUnavailable(why); };
  const key = await telling(ArtifactCorrupt, "keys.age", () => openAge(age, identity ?? "", unavailable));
  if (!key) throw new KeyUnavailable("keys.age was not wrapped for this identity");
  return key;
}

// --- 2 to 9, in this order --------------------------------------------------------------------------------------------

/** Verify all that needs no data key, but for the payload: that is `Artifact.check`, or `Artifact.read`.
 *  `wanted` is the name and version that must be found; `passed` is told the name of each step. */
export async function verify(source, trust, wanted = {}, passed = () => {}) {
  if (!(trust instanceof Trust)) throw new PolicyViolated("no trust was given: nothing is opened without it");
  const bundle = await small(source, "sealed.sig", 2 ** 23, SignatureInvalid);
  if (!bundle) {
    const sealed = source.names()?.some((name) => name.startsWith("sealed/")) ?? await source.blob("sealed/manifest.json");
    throw sealed ? new SignatureInvalid("there is no sealed.sig: nobody signed this") : new ArtifactNotFound("there is no sealed artifact");
  }
  const resources = await verifySignature(bundle, trust);
  passed("signature");
  const raw = await small(source, "sealed/manifest.json", 2 ** 24, ArtifactCorrupt);
  return telling(ArtifactCorrupt, "sealed/", async () => {
    check(raw, "manifest.json is missing");
    check(hex(await sha256(raw)) === resources.get("manifest.json"), "manifest.json is not what was signed");
    const manifest = await parseManifest(raw);
    passed("manifest");
    const blobs = ["manifest.json", ...manifest.files.map((file) => file.blob)];
    check(blobs.length === resources.size && blobs.every((name) => resources.has(name)), "other files were signed than the manifest has");
    const there = source.names()?.filter((name) => name.startsWith("sealed/")).sort();
    check(!there || there.join() === blobs.map((name) => `sealed/${name}`).sort().join(), "a file is missing, or too many");
    const asked = [wanted.name ?? manifest.name, wanted.version ?? manifest.version].join(":");
    passed("files");
    check(asked === `${manifest.name}:${manifest.version}`, `it was sealed as ${manifest.name}:${manifest.version}, and not as ${asked}`);
    trust.check(manifest);
    passed("policy");
    return new Artifact(source, manifest, resources);
  });
}

class Artifact {
  #key = null;

  constructor(source, manifest, resources) { Object.assign(this, { source, manifest, resources }); }

  /** Find the data key; whether it is the right one shows in the first header. */
  async unlock({ identity, dataKey } = {}) {
    const age = await small(this.source, "keys.age", MOST_AGE, ArtifactCorrupt);
    const json = await small(this.source, "keys.json", 2 ** 18, ArtifactCorrupt);
    if (json) await parseKeysJson(json);
    if (!dataKey && !age && !json) throw new ArtifactCorrupt("neither keys.age nor keys.json is there");
    if (!dataKey && !age) throw new KeyUnavailable("there is no keys.age: only a key service opens this");
    if (dataKey && dataKey.length !== 32) throw new KeyUnavailable("a data key has 32 bytes");
    this.#key = dataKey ?? await openKeysAge(age, identity);
  }

  /** Check a file's ciphertext; this needs no key. The blob as a whole is in memory meanwhile: WebCrypto hashes no streams.
   *  `passed` is told the place of each segment that has passed, from 0. */
  async check(path, passed = () => {}) {
    const file = this.#find(path), blob = await this.#blob(file);
    if (hex(await sha256(await bytesOf(blob))) !== this.resources.get(file.blob)) throw new ArtifactCorrupt(`${file.blob} is not what was signed`);
    await this.#each(file, blob, async () => {}, passed);
  }

  /** Return a file's plaintext, once every segment has passed. */
  async read(path, passed = () => {}) {
    const file = this.#find(path), blob = await this.#blob(file);
    if (!this.#key) throw new KeyUnavailable("the artifact was not unlocked");
    const { artifact_id, name, version } = this.manifest;
    const aad = utf8(canonical({ artifact_id, format: FORMAT, name, path, version }));
    let floe = null;
    const out = new Uint8Array(file.size);
    try {
      await this.#each(file, blob, async (segment, index, last) => {
        floe ??= await Floe.resume(this.#key, aad, fromHex(file.header)); // hashes go before keys
        out.set(await floe.open(segment, index, last), index * (SEGMENT - OVERHEAD));
      }, passed);
    } catch (error) {
      out.fill(0);
      throw error;
    }
    return out;
  }

  #find(path) {
    const file = this.manifest.files.find((one) => one.path === path);
    if (!file) throw new ArtifactNotFound(`${this.manifest.name}:${this.manifest.version} has no file ${path}`);
    return file;
  }

  async #blob(file) {
    const blob = await this.source.blob(`sealed/${file.blob}`), size = HEADER + file.size + OVERHEAD * file.segments.length;
    if (blob?.size !== size) throw new ArtifactCorrupt(`${file.blob} has ${blob?.size ?? "no"} bytes, and ${size} were signed`);
    if (hex(await bytesOf(blob.slice(0, HEADER))) !== file.header) throw new ArtifactCorrupt(`${file.blob} has another header than was signed`);
    return blob;
  }

  /** Read each segment into memory, check its hash, and work on that same memory. Where it ends follows from what was signed. */
  async #each(file, blob, work, passed) {
    for (const [index, digest] of file.segments.entries()) {
      const begin = HEADER + index * SEGMENT, last = index === file.segments.length - 1;
      const segment = await bytesOf(blob.slice(begin, last ? blob.size : begin + SEGMENT));
      if (hex(await sha256(segment)) !== digest) throw new ArtifactCorrupt(`segment ${index} of ${file.blob} is not what was signed`);
      await work(segment, index, last);
      passed(index);
    }
  }
}

/** FLOE GCM256_IV256 (https://c2sp.org/FLOE): keys from HKDF-Expand-SHA384, one record of AES-256-GCM for each segment. */
class Floe {
  static async resume(key, aad, header) {
    const floe = Object.assign(new Floe(), { prefix: header.subarray(0, 42), aad, ciphers: new Map() });
    const tag = (await floe.derive(key, utf8("HEADER_TAG:"))).subarray(0, 32);
    if (!same(tag, header.subarray(42))) throw new ArtifactCorrupt("the payload's header has a wrong tag: it is of another key, file or artifact");
    floe.key = await floe.derive(key, utf8("MESSAGE_KEY:"));
    return floe;
  }

  /** Expand once: 48 bytes are one block of SHA-384, and nothing here is longer. */
  async derive(key, purpose) {
    const hmac = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-384" }, false, ["sign"]);
    return new Uint8Array(await crypto.subtle.sign("HMAC", hmac, join(this.prefix, purpose, this.aad, [1])));
  }

  async open(segment, index, last) {
    const mark = last ? segment.length : 0xffffffff, view = new DataView(segment.buffer);
    if (view.getUint32(0) !== mark) throw new ArtifactCorrupt(`segment ${index} is not the last one, or is`);
    const place = new Uint8Array(9);
    new DataView(place.buffer).setBigUint64(0, BigInt(index));
    place[8] = last ? 1 : 0;
    const cipher = await this.#cipher(index);
    try {
      const how = { name: "AES-GCM", iv: segment.subarray(4, 16), additionalData: place, tagLength: 128 };
      return new Uint8Array(await crypto.subtle.decrypt(how, cipher, segment.subarray(16)));
    } catch {
      throw new ArtifactCorrupt(`segment ${index} has a wrong tag`);
    }
  }

  /** A new key for each 2^20 segments. */
  async #cipher(index) {
    const masked = index - (index % 2 ** 20), number = new Uint8Array(8);
    new DataView(number.buffer).setBigUint64(0, BigInt(masked));
    if (!this.ciphers.has(masked)) {
      const raw = (await this.derive(this.key, join(utf8("DEK:"), number))).subarray(0, 32);
      this.ciphers.set(masked, await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]));
    }
    return this.ciphers.get(masked);
  }
}

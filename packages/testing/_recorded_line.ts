import { ADDRESS_MAX, IommuError } from "@giommu/core";

/** How deep lists and objects nest in a recording at most; the deepest in the format are `phbs[0].liobns[0]`. */
const MAX_DEPTH = 8;

/** Fields of one line as they stand in the file, or of an object inside it. */
export type RecordedFields = Readonly<Record<string, unknown>>;

/** One line of a recording, read field by field; what is wrong throws an error that names the file and the line. */
export class RecordedLine {
  readonly fields: RecordedFields;
  readonly #file: string;
  readonly #number: number;
  readonly #path: string;

  constructor(file: string, number: number, fields: RecordedFields, path = "") {
    this.#file = file;
    this.#number = number;
    this.fields = fields;
    this.#path = path;
  }

  /** Reads a line of text. */
  static parse(file: string, number: number, text: string): RecordedLine {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw badLine(file, number, "it is not JSON");
    }
    if (!isObject(value)) throw badLine(file, number, `it is ${shown(value)}, not an object`);
    if (isDeeper(value, MAX_DEPTH)) throw badLine(file, number, `it nests deeper than ${MAX_DEPTH} levels`);
    return new RecordedLine(file, number, value);
  }

  /** Whether a field is there. */
  has(name: string): boolean {
    return Object.hasOwn(this.fields, name);
  }

  /** A text. */
  text(name: string): string {
    const value = this.#get(name);
    return typeof value === "string" ? value : this.#refuse(name, value, "a text");
  }

  /** A yes or no. */
  flag(name: string): boolean {
    const value = this.#get(name);
    return typeof value === "boolean" ? value : this.#refuse(name, value, "true or false");
  }

  /** A whole number in bounds. */
  whole(name: string, max = Number.MAX_SAFE_INTEGER): number {
    return this.#whole(name, this.#get(name), max);
  }

  /** A 64-bit number, written in hexadecimal. */
  u64(name: string): bigint {
    return this.#u64(name, this.#get(name));
  }

  /** A number of 32 bits, written as a 64-bit one. */
  u32(name: string): number {
    const value = this.u64(name);
    return value <= 0xffff_ffffn ? Number(value) : this.#refuse(name, this.#get(name), "a number of 32 bits");
  }

  /** A list of 64-bit numbers. */
  u64s(name: string, max: number): bigint[] {
    return this.#list(name, max).map((value, at) => this.#u64(`${name}[${at}]`, value));
  }

  /** A list of 32-bit numbers, which are plain ones. */
  words(name: string, max: number): number[] {
    return this.#list(name, max).map((value, at) => this.#whole(`${name}[${at}]`, value, 0xffff_ffff));
  }

  /** A list of objects. */
  objects(name: string, max: number): RecordedLine[] {
    return this.#list(name, max).map((value, at) => {
      const path = `${name}[${at}]`;
      if (!isObject(value)) return this.#refuse(path, value, "an object");
      return new RecordedLine(this.#file, this.#number, value, `${this.#path}${path}.`);
    });
  }

  /** Refuses the line. */
  bad(state: string): never {
    throw badLine(this.#file, this.#number, state);
  }

  #get(name: string): unknown {
    if (!this.has(name)) this.bad(`it has no ${this.#path}${name}`);
    return this.fields[name];
  }

  #list(name: string, max: number): readonly unknown[] {
    const value = this.#get(name);
    if (!Array.isArray(value)) return this.#refuse(name, value, "a list");
    if (value.length > max) this.bad(`${this.#path}${name} has ${value.length} items, more than ${max}`);
    return value;
  }

  #u64(name: string, value: unknown): bigint {
    if (typeof value === "string" && /^0x[0-9a-f]{1,16}$/i.test(value)) return BigInt(value);
    return this.#refuse(name, value, `a number from "0x0" to "0x${ADDRESS_MAX.toString(16)}"`);
  }

  #whole(name: string, value: unknown, max: number): number {
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max) return value;
    return this.#refuse(name, value, `a whole number from 0 to ${max}`);
  }

  #refuse(name: string, value: unknown, expected: string): never {
    this.bad(`${this.#path}${name} is ${shown(value)}, not ${expected}`);
  }
}

/** What is wrong with a line. */
export function badLine(file: string, line: number, state: string): IommuError {
  return new IommuError("bad-input", `Cannot read the recording ${file}, line ${line}: ${state}`);
}

function isObject(value: unknown): value is RecordedFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value for a message: never long. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isObject(value)) return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** Whether a value nests deeper, looked at level by level: a hostile line must not use up the stack. */
function isDeeper(value: unknown, depth: number): boolean {
  let level: unknown[] = [value];
  for (let at = 0; at <= depth; at++) {
    level = level.flatMap((item) => typeof item === "object" && item !== null ? Object.values(item) : []);
    if (level.length === 0) return false;
  }
  return true;
}

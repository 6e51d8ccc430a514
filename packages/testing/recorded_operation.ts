/** A hypercall: `H_PUT_TCE`, `H_GET_TCE`, `H_STUFF_TCE`, `H_PUT_TCE_INDIRECT` or `H_RTAS`. */
export interface RecordedHcall {
  /** What kind of operation it is. */
  readonly kind: "hcall";
  /** What is in r3. */
  readonly opcode: bigint;
  /** What is in r4 and on, up to r12; the registers after these were 0. */
  readonly args: readonly bigint[];
}

/** A call of the logical LAN: `H_REGISTER_LOGICAL_LAN` or `H_FREE_LOGICAL_LAN`. */
export interface RecordedLanCall {
  /** What kind of operation it is. */
  readonly kind: "lan";
  /** Whether it registers buffers; else it frees them. */
  readonly registers: boolean;
  /** What is in r4 and on. */
  readonly args: readonly bigint[];
}

/** An RTAS call. */
export interface RecordedRtasCall {
  /** What kind of operation it is. */
  readonly kind: "rtas";
  /** The number by which RTAS knows it. */
  readonly token: number;
  /** The 32-bit words of its arguments. */
  readonly args: readonly number[];
  /** How many words the guest expects back. */
  readonly nret: number;
}

/** The guest stores big-endian 64-bit words: `POKE64`. */
export interface RecordedPoke {
  /** What kind of operation it is. */
  readonly kind: "poke";
  /** The guest-physical address of the first. */
  readonly address: bigint;
  /** The words. */
  readonly words: readonly bigint[];
}

/** The guest stores a sequence of big-endian 64-bit words: `POKE64_SEQ`. */
export interface RecordedSequence {
  /** What kind of operation it is. */
  readonly kind: "sequence";
  /** The guest-physical address of the first. */
  readonly address: bigint;
  /** How many words. */
  readonly count: number;
  /** The first word. */
  readonly start: bigint;
  /** How much more each word is than the one before it, modulo 2^64. */
  readonly step: bigint;
}

/** The guest loads big-endian 64-bit words: `PEEK64`. */
export interface RecordedPeek {
  /** What kind of operation it is. */
  readonly kind: "peek";
  /** The guest-physical address of the first. */
  readonly address: bigint;
  /** How many words. */
  readonly count: number;
}

/** The PCI device on bridge 0 copies between the bus and its buffer: `DMA_READ`, `DMA_WRITE`. */
export interface RecordedDma {
  /** What kind of operation it is. */
  readonly kind: "dma";
  /** Whether the device reads from the bus; else it writes to it. */
  readonly reads: boolean;
  /** The bus address of the first byte. */
  readonly bus: bigint;
  /** How many bytes. */
  readonly length: number;
  /** Where in its buffer. */
  readonly offset: number;
}

/** The machine is reset: `REBOOT`. */
export interface RecordedReboot {
  /** What kind of operation it is. */
  readonly kind: "reboot";
}

/** An operation that this package does not know: a failure when it is played. */
export interface UnknownOperation {
  /** What kind of operation it is. */
  readonly kind: "unknown";
}

/** What one operation of a recording does, without what it answered. */
export type RecordedAction =
  | RecordedHcall
  | RecordedLanCall
  | RecordedRtasCall
  | RecordedPoke
  | RecordedSequence
  | RecordedPeek
  | RecordedDma
  | RecordedReboot
  | UnknownOperation;

/** One operation of a recording. */
export interface RecordedOperation {
  /** Its number in the file, from 0. */
  readonly n: number;
  /** Its name in the file. */
  readonly op: string;
  /** What it does. */
  readonly action: RecordedAction;
  /** The fields that say what was answered, as they stand in the file: all but those that say what it does. */
  readonly answer: Readonly<Record<string, unknown>>;
}

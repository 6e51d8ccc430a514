import type { IommuErrorCode } from "@giommu/core";
import { IommuError } from "@giommu/core";

/** Linux's error numbers that these calls can answer with (asm-generic/errno-base.h, errno.h: the same on x86, Arm and POWER). */
export const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  19: "ENODEV",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  25: "ENOTTY",
  28: "ENOSPC",
  34: "ERANGE",
  75: "EOVERFLOW",
  90: "EMSGSIZE",
  95: "EOPNOTSUPP",
  98: "EADDRINUSE",
};

/** What the error number of an answer is called. */
export function errnoName(answer: number): string {
  return ERRNO_NAMES[-answer] ?? `error ${-answer}`;
}

/** What to say of a call that was refused. */
export interface Attempt {
  /** What could not be done: "Cannot <act> <thing>". */
  readonly what: string;
  /** The call, as people find it in the kernel's headers. */
  readonly call: string;
  /** What helps, by the error's name; `""` stands for every other. */
  readonly remedies?: Readonly<Record<string, string>>;
  /** Why, for programs; `"backend-unavailable"` unless given. */
  readonly code?: IommuErrorCode;
}

/** Returns the answer of a call. Throws if it was refused. */
export function must(answer: number, { what, call, remedies, code }: Attempt): number {
  if (answer >= 0) return answer;
  const name = errnoName(answer);
  const remedy = remedies?.[name] ?? remedies?.[""];
  throw new IommuError(code ?? "backend-unavailable", `${what}: ${call} answered ${name}`, {
    ...(remedy !== undefined && { remedy }),
    cause: { errno: name, call },
  });
}

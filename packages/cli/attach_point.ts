import type { LogHotplug } from "@giommu/qemu-trace";
import type { Session } from "./session.ts";
import { UsageError } from "./usage_error.ts";
import type { Where } from "./where.ts";

/** The place in a log at which the container is attached. */
export interface AttachPoint {
  /** The line: of the log's own hotplug where it is one, else the last one that was read. */
  readonly line: number;
  /** The log's own hotplug, where it is one. */
  readonly hotplug: LogHotplug | undefined;
}

/**
 * Reads up to where the container is to be attached.
 *
 * @param session The input.
 * @param where Where.
 * @returns The place; the machine is as it is there.
 * @throws {UsageError} If the input has no such place.
 */
export async function reach(session: Session, where: Where): Promise<AttachPoint> {
  const { machine } = session;
  if (session.stream !== undefined && where.kind !== "default" && where.kind !== "end") {
    throw new UsageError(`--at: ${session.name} is a migration stream, which has one moment only`);
  }
  switch (where.kind) {
    case "default":
      return await toHotplug(session, 1) ?? here(session);
    case "hotplug": {
      const point = await toHotplug(session, where.count);
      if (point !== undefined) return point;
      const { length } = machine.hotplugs;
      throw new UsageError(`--at: ${session.name} has ${length === 0 ? "no hotplug" : `only ${length} of them`}`);
    }
    case "end":
      while (await session.read() !== "end");
      return here(session);
    case "line":
      machine.stopAt({ line: where.line });
      if (await toLimit(session) || machine.counts.lines >= where.line) return here(session);
      throw new UsageError(`--at: ${session.name} has only ${machine.counts.lines} lines`);
    case "time":
      machine.stopAt({ time: where.microseconds });
      if (await toLimit(session) || machine.timed) return here(session);
      throw new UsageError(`--at: ${session.name} has no timestamps (QEMU prints them with -msg timestamp=on)`);
    case "percent": {
      const size = await session.input.inflatedSize();
      if (size === undefined) throw new UsageError("--at: a share of the bytes needs a file, not a pipe");
      machine.stopAt({ offset: Math.floor(size * where.percent / 100) });
      await toLimit(session);
      return here(session);
    }
  }
}

function here({ machine }: Session): AttachPoint {
  return { line: machine.counts.lines, hotplug: undefined };
}

/** Reads up to the log's own hotplug; `undefined` at the end. */
async function toHotplug(session: Session, count: number): Promise<AttachPoint | undefined> {
  for (;;) {
    const stop = await session.read();
    if (stop === "end") return undefined;
    const { hotplugs } = session.machine;
    const hotplug = hotplugs[count - 1];
    if (stop === "hotplug" && hotplugs.length === count && hotplug !== undefined) {
      return { line: hotplug.line, hotplug };
    }
  }
}

/** Reads up to the stop point that was set; returns whether it was there. */
async function toLimit(session: Session): Promise<boolean> {
  for (;;) {
    const stop = await session.read();
    if (stop === "limit" || stop === "end") return stop === "limit";
  }
}

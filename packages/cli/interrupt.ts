const cleanups: (() => void)[] = [];

/**
 * Says what is to be undone before the process ends because somebody pressed Ctrl-C.
 *
 * @param cleanup Called between two steps of the work, never inside of one.
 * @returns Forgets it when disposed.
 */
export function onInterrupt(cleanup: () => void): Disposable {
  cleanups.push(cleanup);
  return {
    [Symbol.dispose]: () => {
      const at = cleanups.lastIndexOf(cleanup);
      if (at >= 0) cleanups.splice(at, 1);
    },
  };
}

/** Undoes what is to be undone, the newest first. */
export function interrupt(): void {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) cleanup();
}

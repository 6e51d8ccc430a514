/** Thrown for bad arguments or bad input: the command prints its message on one line and exits with 2. */
export class UsageError extends Error {
  /**
   * Creates an error.
   *
   * @param message What is wrong and what would be right, on one line.
   */
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

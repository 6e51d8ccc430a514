import { assertEquals } from "@std/assert";
import { TraceClock } from "./trace_clock.ts";

Deno.test("times count from the first one, and threads that logged at once do not make them go back", () => {
  const clock = new TraceClock();
  assertEquals([clock.at(undefined), clock.first], [0, undefined]);
  assertEquals([5_000_000n, 5_000_010n, 5_000_007n, undefined, 5_000_011n].map((time) => clock.at(time)), [
    0,
    10,
    10,
    10,
    11,
  ]);
  assertEquals([clock.first, clock.steps], [5_000_000n, 0]);
});

Deno.test("a clock that was set goes on from where it was", () => {
  const clock = new TraceClock();
  const hour = 3_600_000_000n;
  assertEquals([hour, hour + 100n, 50n, 70n, 2n * hour].map((time) => clock.at(time)), [
    0,
    100,
    100,
    120,
    Number(2n * hour - 50n + 100n),
  ]);
  assertEquals(clock.steps, 1);
  const before = clock.now;
  const year2000 = 946_684_800_000_000n; // 1970 until somebody told the host what time it is
  assertEquals([year2000, year2000 + 3n].map((time) => clock.at(time) - before), [0, 3]);
  assertEquals(clock.steps, 2);
});

import { assertEquals } from "@std/assert";
import { isRepaired } from "./_split_probe.ts";

Deno.test("splitting is trusted on kernels that find the rests again, and on no other", () => {
  const releases = ["6.12.95", "6.7.0-rc1", "6.7", "6.6.3", "6.5.13-amd64", "7.0.1", "10.0"];
  assertEquals(releases.filter((release) => !isRepaired(release)), []);
  const before = ["6.6.2", "6.5.12", "6.2.0", "6.1.0-56-amd64", "5.19.4", "nonsense"];
  assertEquals(before.filter(isRepaired), []);
});

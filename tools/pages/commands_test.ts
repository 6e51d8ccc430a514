// What pages tell a reader to type, typed; and what they say that it prints, compared.
import { assertEquals } from "@std/assert";
import { pages } from "../check_pages.ts";
import { type Command, denoCommands, reasonNotToRun } from "./commands.ts";
import { run } from "../spawn.ts";

/** `deno` as readers have it, without looking for it on PATH. */
const DENO = `deno() { "${Deno.execPath()}" "$@"; }; export -f deno; `;

for (const { path, blocks } of pages()) {
  blocks.forEach((block, at) => {
    const commands = denoCommands(block).filter((command) => reasonNotToRun(command) === undefined);
    const next = blocks[at + 1];
    const told = next?.language === "text" && next.marks[0] === "output" ? next.code : undefined;
    commands.forEach((command, n) => {
      const last = n === commands.length - 1;
      Deno.test(`${path}:${command.line}: ${command.text}`, () => typed(command, last ? told : undefined));
    });
  });
}

async function typed({ text, exit }: Command, told: string | undefined): Promise<void> {
  const script = `set -o pipefail; ${DENO}(${text}); code=$?; echo; echo "exit code $code"`;
  const { stdout, text: all } = await run("bash", ["-c", script], { env: { DENO_NO_PROMPT: "1" } });
  const [, printed = "", code] = /^([^]*)\nexit code (\d+)\n$/.exec(stdout) ?? [];
  assertEquals(Number(code), exit, all);
  if (told !== undefined) assertEquals(printed, told);
}

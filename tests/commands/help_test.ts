/** What each command's `--help` and `--version` print. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { version } from "../../lib/config/version.ts";
import { relayCommands } from "../../lib/commands/relay_commands.ts";
import { printed } from "./run.ts";

for (const { word } of relayCommands) {
  Deno.test(`relay ${word} --help: within 80 columns, and its examples have its options`, async () => {
    const help = await printed([word, "--help"]);
    match(help, new RegExp(`^Usage: relay ${word} .+\\n(?: +.+\\n)*\\n`));
    deepEqual(help.split("\n").filter((line) => line.length > 80 || / $/.test(line)), []);
    ok(!help.includes("(env "), "no variable changes what is printed");
    ok(!help.includes("DURATION"), "it tells of no kind of value that it has not");
    const known = [...help.matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map((option) => option[1]!);
    const [, examples = ""] = /\nExamples:\n(.*?)\n\n/s.exec(help) ?? [];
    const commands = examples.split(/\n(?= {2}(?:#|\S))/).filter((line) =>
      line.includes(`relay ${word}`)
    );
    ok(commands.length > 0);
    const used = commands.flatMap((line) => [...line.matchAll(/ (--[\w-]+)/g)]).map((m) => m[1]!);
    for (const option of used) ok(known.includes(option), option);
    match(help, /\nExit codes:\n {2}0 {2}.+\n {2}1 {2}.+\n {2}2 {2}.+\n$/);
  });

  Deno.test(`relay ${word} --version: deno.json's`, async () => {
    equal(await printed([word, "--version"]), `culvert relay ${word} ${version}\n`);
  });
}

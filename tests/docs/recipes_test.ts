/** The recipes' systemd units are valid as they stand there; tests/fronts runs those for proxies. */
import assert from "node:assert/strict";
import { withFolder } from "../support/certificates.ts";
import { blocks } from "./markdown.ts";

const page = "docs/recipes.md";

/** The first block of a language that has a text in it. */
function block(info: string, text: string): string {
  const found = blocks(page).find((block) => block.info === info && block.text.includes(text));
  assert.ok(found, text);
  return found.text;
}

function isInstalled(program: string, ...args: readonly string[]): boolean {
  try {
    return new Deno.Command(program, { args: [...args], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test({
  name: "recipes.md: systemd accepts the units, and gives the programs the time that they may take",
  ignore: !isInstalled("systemd-analyze", "--version"),
  fn: () =>
    withFolder(async (folder) => {
      for (const program of ["relay", "agent"]) {
        // Any program that is there: systemd-analyze looks for it.
        const unit = block("ini", `Description=culvert ${program}`)
          .replace(`/usr/local/bin/culvert-${program}`, "/bin/true");
        const path = `${folder}/culvert-${program}.service`;
        await Deno.writeTextFile(path, unit);
        const args = ["verify", "--man=no", "--recursive-errors=no", path];
        const { success, stderr } = await new Deno.Command("systemd-analyze", { args }).output();
        const text = new TextDecoder().decode(stderr);
        assert.ok(success, text);
        assert.equal(text, "");
        const option = (name: string): number =>
          Number(
            new RegExp(`--${name} (\\d+)s`).exec(unit)?.[1] ??
              { "drain-delay": 0, grace: 30 }[name],
          );
        const stop = Number(/TimeoutStopSec=(\d+)/.exec(unit)?.[1]);
        assert.ok(stop > option("grace") + (program === "relay" ? option("drain-delay") : 0));
      }
    }),
});

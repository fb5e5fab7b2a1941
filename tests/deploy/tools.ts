/**
 * What the deploy tests need besides a cluster: the scripts that start it, build and load images and
 * run Argo CD. Their folder is named by the variable KUBE_TOOLS.
 */
import { fileURLToPath } from "node:url";
import { type CommandOptions, type CommandResult, run } from "../e2e/command.ts";

/** Root of the repository, where images are built. */
export const repositoryRoot = fileURLToPath(new URL("../../", import.meta.url));

/** The folder with `kube`, `argo` and `base-images`; undefined where there is none. */
export const toolsFolder: string | undefined = Deno.env.get("KUBE_TOOLS");

/** Runs a program, which must succeed; what it printed. */
export async function must(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return printed(program, args, await run(program, args, options));
}

/** Runs one of the tools, which must succeed; what it printed. */
export async function tool(
  name: "kube" | "argo" | "base-images",
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  if (toolsFolder === undefined) throw new Error("KUBE_TOOLS is not set");
  return await must(`${toolsFolder}/${name}`, args, options);
}

function printed(program: string, args: readonly string[], result: CommandResult): string {
  const { code, stdout, stderr } = result;
  if (code === 0) return stdout;
  throw new Error(`"${program} ${args.join(" ")}" ended with code ${code}:\n${stdout}${stderr}`);
}

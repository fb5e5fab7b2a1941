/** Applications from PyPI and npm, installed once into `dist/tools/`, of versions that do not move. */
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../dist/tools/", import.meta.url));

/** What is installed, and with what. A change of a version installs anew. */
const jupyter = {
  folder: `${root}jupyter`,
  packages: ["jupyterlab==4.6.6", "jupyter-server==2.21.1"],
};
const nodeRed = { folder: `${root}node-red`, packages: ["node-red@4.1.15"] };

/** Installs JupyterLab into a virtual environment. @returns the program `jupyter-lab` */
export async function installJupyter(): Promise<string> {
  const { folder, packages } = jupyter;
  await once(folder, packages, async () => {
    await run("python3", ["-m", "venv", "--clear", folder]);
    await run(`${folder}/bin/pip`, [
      "install",
      "--quiet",
      "--disable-pip-version-check",
      ...packages,
    ]);
  });
  return `${folder}/bin/jupyter-lab`;
}

/** Installs Node-RED. @returns the program `node-red` */
export async function installNodeRed(): Promise<string> {
  const { folder, packages } = nodeRed;
  await once(folder, packages, async () => {
    await run("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", ...packages]);
  });
  return `${folder}/node_modules/.bin/node-red`;
}

/** Runs `install` unless it has run to its end for these very packages. */
async function once(
  folder: string,
  packages: readonly string[],
  install: () => Promise<void>,
): Promise<void> {
  const marker = `${folder}/.installed`;
  const wanted = packages.join("\n");
  const installed = await Deno.readTextFile(marker).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (installed === wanted) return;
  await Deno.mkdir(folder, { recursive: true });
  await install();
  await Deno.writeTextFile(marker, wanted);
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    stdin: "null",
  }).output();
  if (success) return;
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  throw new Error(`${program} ${args.join(" ")} failed:\n${text}`);
}

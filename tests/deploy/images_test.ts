/** The images as they were built: who they run as, with which permissions, and what is not in them. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { clusterTest } from "../e2e/environment.ts";
import { imageNames, imageRepository, imageTag, readDockerfile } from "./build_images.ts";
import { must, repositoryRoot } from "./tools.ts";

interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly Healthcheck?: unknown;
}

async function configOf(image: string): Promise<ImageConfig> {
  const env = { STORAGE_DRIVER: "vfs" };
  const text = await must("buildah", ["inspect", "--type", "image", image], { env });
  return JSON.parse(text).Docker.config;
}

/** The permissions of a task of deno.json, which are what the program needs. */
async function permissionsOfTask(task: string): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${repositoryRoot}deno.json`));
  return [...tasks[task].command.matchAll(/--allow-[\w=,-]+/g)].map((found) => found[0]);
}

for (const program of imageNames) {
  clusterTest(`the image of the ${program} has what it needs and no more`, async () => {
    const config = await configOf(`${imageRepository(program)}:${imageTag}`);
    equal(config.User, "65532:65532", "a number, as runAsNonRoot needs one");
    equal(config.Healthcheck ?? null, null, "probes are the platform's");
    const [deno, ...args] = config.Entrypoint;
    equal(deno, "/bin/deno", "no shell is between");
    deepEqual(args.filter((arg) => arg.startsWith("--allow-")), await permissionsOfTask(program));
    for (const flag of ["--no-prompt", "--no-remote", "--no-npm"]) {
      match(args.join(" "), RegExp(flag));
    }
    equal(config.Labels["org.opencontainers.image.title"], `culvert-${program}`);
    equal(config.Labels["org.opencontainers.image.licenses"], "Apache-2.0");
  });

  Deno.test(`the ${program}'s Dockerfile has the Deno that CI runs, and no shell at the end`, async () => {
    const { text, denoVersion, bases } = await readDockerfile(program);
    const ci = await Deno.readTextFile(`${repositoryRoot}.ci/run`);
    equal(denoVersion, /^readonly deno_version=(\S+)$/m.exec(ci)?.[1]);
    match(bases.at(-1)!, /:distroless-/);
    equal(/^RUN/m.test(text.slice(text.lastIndexOf("\nFROM "))), false, "nothing runs there");
  });
}

Deno.test("install.md tells how large the programs in the images are", async () => {
  const page = await Deno.readTextFile(`${repositoryRoot}docs/install.md`);
  const text = page.replaceAll(/\s+/g, " ");
  const folder = await Deno.makeTempDir({ prefix: "culvert-sizes-" });
  try {
    for (const program of ["relay", "agent"]) {
      const told = RegExp(`one file of JavaScript \\([^)]*${program} (\\d+\\.\\d) MB`).exec(text);
      const output = `${folder}/${program}.js`;
      const args = ["bundle", "--quiet", "--platform", "deno", "--output", output];
      await must(Deno.execPath(), [...args, `${repositoryRoot}${program}.ts`]);
      const { size } = await Deno.stat(output);
      ok(Math.abs(size / 1e6 - Number(told?.[1])) < 0.2, `${program}: ${told?.[0]}, but ${size}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

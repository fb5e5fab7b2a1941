/** `compose.yaml` in containers: a Docker of its own, in a network namespace of its own. */
import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../e2e/command.ts";
import { clusterTest } from "../e2e/environment.ts";
import { scratchFolder } from "../e2e/scratch.ts";
import { imageRepository, imageTag, readDockerfile, saveImage } from "./build_images.ts";
import { tool } from "./tools.ts";

/** For three images to be loaded and started on a busy machine. */
const timeoutMs = 400_000;

const script = fileURLToPath(new URL("compose.sh", import.meta.url));
const isolated = ["--net", "--mount", "--pid", "--fork", "--kill-child"];

// The images come from the cluster's tools, which the other deploy tests need as well.
clusterTest("compose.yaml in containers: a request reaches the sample target", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const { bases, denoVersion } = await readDockerfile("agent");
  const base = bases.at(-1)!;
  await tool("base-images", [denoVersion, base], { timeoutMs });
  await saveImage(base, `${folder}/target.tar`);
  for (const program of ["relay", "agent"] as const) {
    const built = `${imageRepository(program)}:${imageTag}`;
    await saveImage(built, `${folder}/${program}.tar`, `culvert-${program}:latest`);
  }
  const { code, stdout, stderr } = await run("unshare", [...isolated, script, folder], {
    timeoutMs,
  });
  equal(code, 0, stderr);
  const answers = stdout.trim().split("\n").map((line) => JSON.parse(line));
  deepEqual(
    answers.map(({ method, path }) => [method, path]),
    [["GET", "/hello"], ["GET", "/hello"]],
    "before and after the agent was restarted",
  );
  for (const { headers } of answers) {
    match(headers["x-forwarded-for"], /^\d+\.\d+\.\d+\.\d+$/);
    equal(headers.authorization, undefined);
  }
});

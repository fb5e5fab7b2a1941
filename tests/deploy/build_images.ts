/**
 * Builds all images from the real Dockerfiles and loads them into the cluster's node, before the
 * tests that use them. There is no registry: local images stand in for the base images.
 */
import { must, repositoryRoot, tool } from "./tools.ts";

/** The programs that have images. */
export type ImageName = "relay" | "agent" | "access" | "operator";

/** All of them. */
export const imageNames: readonly ImageName[] = ["relay", "agent", "access", "operator"];

/** The tag of what is built here. */
export const imageTag = "test";

/** Where an image is for a chart's `image.repository`. */
export function imageRepository(program: ImageName): string {
  return `docker.io/local/culvert-${program}`;
}

/** Debian and Deno are copied, packed and unpacked for each image. */
const timeoutMs = 300_000;

/** As long as buildah is asked to use neither a daemon nor kernel features of overlay mounts. */
const env = { STORAGE_DRIVER: "vfs", BUILDAH_ISOLATION: "chroot" };

/** Of the machine: a stand-in has its own, which need not know a proxy that looks into TLS. */
const certificates = "/etc/ssl/certs";

/** The file with an image's build; the base images that it names. */
export async function readDockerfile(
  program: ImageName,
): Promise<{ text: string; denoVersion: string; bases: string[] }> {
  const text = await Deno.readTextFile(`${repositoryRoot}deploy/docker/${program}.Dockerfile`);
  const denoVersion = /^ARG DENO_VERSION=(\S+)$/m.exec(text)?.[1];
  if (denoVersion === undefined) throw new Error(`${program}.Dockerfile names no DENO_VERSION`);
  const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, name]) =>
    name!.replace("${DENO_VERSION}", denoVersion)
  );
  return { text, denoVersion, bases };
}

/** Takes images away that may be there. */
async function remove(images: readonly string[]): Promise<void> {
  const listed = await must("buildah", ["images", "--format", "{{.Name}}:{{.Tag}}"], { env });
  const there = images.filter((image) => listed.split("\n").includes(image));
  if (there.length > 0) await must("buildah", ["rmi", "--force", ...there], { env, timeoutMs });
}

/** Writes an image to an archive, under a name of its own if it is to have another there. */
export async function saveImage(image: string, archive: string, name = image): Promise<void> {
  await must("buildah", ["push", image, `docker-archive:${archive}:${name}`], { env, timeoutMs });
}

async function buildAndLoad(image: string, program: ImageName, folder: string): Promise<void> {
  const file = ["--file", `${repositoryRoot}deploy/docker/${program}.Dockerfile`];
  const trust = ["--build-arg", "DENO_TLS_CA_STORE=system"];
  const mount = ["--volume", `${certificates}:${certificates}:ro`];
  const options = ["--pull-never", "--layers=false", ...trust, ...mount, "--tag", image, ...file];
  await must("buildah", ["bud", ...options, repositoryRoot], { env, timeoutMs });
  const archive = `${folder}/${program}.tar`;
  await saveImage(image, archive);
  await tool("kube", ["load", archive], { timeoutMs });
  await Deno.remove(archive);
  console.log(image);
}

if (import.meta.main) {
  const files = await Promise.all(imageNames.map(readDockerfile));
  const bases = [...new Set(files.flatMap(({ bases }) => bases))];
  const images = imageNames.map((program) => `${imageRepository(program)}:${imageTag}`);
  const folder = await Deno.makeTempDir({ prefix: "culvert-images-" });
  // Else each build would leave those of the one before, without a name: more than a gigabyte.
  await remove([...bases, ...images]);
  try {
    for (const version of new Set(files.map(({ denoVersion }) => denoVersion))) {
      const named = bases.filter((name) => name.endsWith(version));
      await tool("base-images", [version, ...named], { timeoutMs });
    }
    for (const [index, program] of imageNames.entries()) {
      await buildAndLoad(images[index]!, program, folder);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
    await remove(bases);
  }
}

/**
 * Prints what relay, agent, access and operator are made of, as a bill of materials in CycloneDX 1.6
 * (JSON): the packages that their modules reach, each with its checksum in deno.lock, and Deno itself.
 * Nothing in it depends on the time or the machine. From the repository's root:
 *
 *   deno run --allow-run --allow-read deploy/sbom.ts > culvert.cdx.json
 */

/** What `deno info --json` says, as far as it is needed here. */
interface ModuleGraph {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

interface NpmPackage {
  readonly name: string;
  readonly version: string;
  /** Keys of the same record. */
  readonly dependencies: readonly string[];
}

interface Component {
  readonly type: string;
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
}

const programs = ["relay.ts", "agent.ts", "access.ts", "operator.ts"];
const config: { version: string; license: string } = readJson("deno.json");
const lock: { npm: Record<string, { integrity: string }> } = readJson("deno.lock");

const { direct, packages } = mergeGraphs(await Promise.all(programs.map(graphOf)));
const reached = reachedFrom(direct, packages);
const root = "culvert";
const deno: Component = {
  type: "platform",
  "bom-ref": "deno",
  name: "deno",
  version: Deno.version.deno,
  purl: `pkg:github/denoland/deno@v${Deno.version.deno}`,
};
const bom = {
  $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  metadata: {
    component: {
      type: "application",
      "bom-ref": root,
      name: root,
      version: config.version,
      licenses: [{ license: { id: config.license } }],
    },
  },
  components: [deno, ...reached.map((key) => componentOf(key, packages))],
  dependencies: [
    { ref: root, dependsOn: ["deno", ...direct] },
    ...reached.map((key) => ({ ref: key, dependsOn: packages[key]!.dependencies.toSorted() })),
  ],
};
console.log(JSON.stringify(bom, undefined, 2));

function readJson<Value>(path: string): Value {
  return JSON.parse(Deno.readTextFileSync(path));
}

async function graphOf(program: string): Promise<ModuleGraph> {
  const args = ["info", "--json", program];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  const decoder = new TextDecoder();
  if (code !== 0) throw new Error(`deno info ${program} failed: ${decoder.decode(stderr)}`);
  return JSON.parse(decoder.decode(stdout));
}

/** What the programs import themselves; packages of types alone leave nothing in them. */
function mergeGraphs(graphs: readonly ModuleGraph[]) {
  const imported = graphs.flatMap(({ modules }) =>
    modules.flatMap(({ npmPackage }) => npmPackage ?? [])
  );
  const direct = [...new Set(imported)].filter((key) => !key.startsWith("@types/")).sort();
  const packages: Record<string, NpmPackage> = Object.assign(
    {},
    ...graphs.map(({ npmPackages }) => npmPackages),
  );
  return { direct, packages };
}

function reachedFrom(
  direct: readonly string[],
  packages: Readonly<Record<string, NpmPackage>>,
): string[] {
  const reached = new Set<string>();
  const visit = (key: string): void => {
    if (reached.has(key)) return;
    reached.add(key);
    for (const other of packages[key]!.dependencies) visit(other);
  };
  for (const key of direct) visit(key);
  return [...reached].sort();
}

/** A package by its key, in which versions of its peers may follow: `a@1.0.0_b@2.0.0`. */
function componentOf(key: string, packages: Readonly<Record<string, NpmPackage>>): Component {
  const { name, version } = packages[key]!;
  const integrity = lock.npm[key]?.integrity;
  if (!integrity?.startsWith("sha512-")) throw new Error(`deno.lock has no checksum of ${key}`);
  const digest = Uint8Array.fromBase64(integrity.slice("sha512-".length));
  return {
    type: "library",
    "bom-ref": key,
    name,
    version,
    // The purl of a scoped package has its @ escaped, and its slash not.
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    hashes: [{ alg: "SHA-512", content: digest.toHex() }],
  };
}

/** A cluster, its user and its context in a kubeconfig that has others, whose text stays as it is. */
import { type Document, isMap, isSeq, YAMLMap } from "yaml";
import { ConfigError } from "../config/config_error.ts";
import { maxYamlCharacters, readYamlDocument } from "../config/entries/yaml_entries.ts";
import { writeDocument } from "./yaml.ts";

/** What `relay kubeconfig` makes. */
export interface Kubeconfig {
  readonly apiVersion: "v1";
  readonly kind: "Config";
  readonly clusters: readonly Named<"cluster">[];
  readonly users: readonly Named<"user">[];
  readonly contexts: readonly Named<"context">[];
  readonly "current-context": string;
}

type Named<Kind extends string> =
  & { readonly name: string }
  & { readonly [key in Kind]: Readonly<Record<string, unknown>> };

const lists = ["clusters", "users", "contexts"] as const;

/**
 * Puts entries in a kubeconfig, in the place of those that an earlier call made, and makes their context
 * the current one.
 *
 * @param source names the file in messages
 * @throws {ConfigError} for a file that is no kubeconfig, and for an entry of somebody else's; with
 * nothing of the file in it
 */
export function mergeKubeconfig(before: string, entries: Kubeconfig, source: string): string {
  const document = documentOf(before.trim() === "" ? "{}" : before, source);
  const root = document.contents;
  const kind = isMap(root) ? root.get("kind") : undefined;
  if (!isMap(root) || (kind !== undefined && kind !== "Config")) {
    throw new ConfigError(`${source} is not a kubeconfig: it must be a mapping of kind Config`);
  }
  root.flow = false;
  refuseOthers(root, entries, source);
  for (const key of ["apiVersion", "kind"] as const) {
    if (!root.has(key)) root.set(key, document.createNode(entries[key]));
  }
  for (const list of lists) {
    for (const entry of entries[list]) putEntry(root, list, entry, source);
  }
  root.set("current-context", document.createNode(entries["current-context"]));
  return writeDocument(document);

  function putEntry(
    root: YAMLMap,
    list: typeof lists[number],
    entry: { readonly name: string },
    source: string,
  ): void {
    const found = root.get(list);
    const node = document.createNode(entry);
    if (found === undefined || found === null) {
      return void root.set(list, document.createNode([entry]));
    }
    if (!isSeq(found)) throw new ConfigError(`${source}: ${list} must be a list`);
    found.flow = false;
    const index = found.items.findIndex((item) => nameOf(item) === entry.name);
    if (index === -1) found.add(node);
    else found.items[index] = node;
  }
}

/** @throws {ConfigError} for what is no YAML, and for more of it than is read */
function documentOf(text: string, source: string): Document {
  const { document, fault } = readYamlDocument(text);
  if (fault === undefined) return document;
  const { code, line, column } = fault;
  if (code === "TOO_LONG") {
    throw new ConfigError(`${source} has more than ${maxYamlCharacters} characters`);
  }
  const what = code === "DUPLICATE_KEY" ? "has a key twice" : "is not YAML";
  throw new ConfigError(`${source} ${what}, at line ${line}, column ${column}`);
}

/** A context that leads elsewhere keeps its name: its credentials may be nowhere else. */
function refuseOthers(root: YAMLMap, entries: Kubeconfig, source: string): void {
  const name = entries["current-context"];
  const server = entries.clusters[0]?.cluster["server"];
  const taken = lists.filter((list) => find(root, list, name) !== undefined);
  if (taken.length === 0 || serverOf(find(root, "clusters", name)) === server) return;
  throw new ConfigError(
    `${source} has ${JSON.stringify(name)} already among its ${taken.join(" and ")}, for another ` +
      "server; choose another name with --name",
  );
}

function find(root: YAMLMap, list: string, name: string): YAMLMap | undefined {
  const items = root.get(list);
  const item = isSeq(items) ? items.items.find((item) => nameOf(item) === name) : undefined;
  return isMap(item) ? item : undefined;
}

function nameOf(item: unknown): string | undefined {
  return isMap(item) ? String(item.get("name")) : undefined;
}

function serverOf(item: YAMLMap | undefined): unknown {
  const cluster = item?.get("cluster");
  return isMap(cluster) ? cluster.get("server") : undefined;
}

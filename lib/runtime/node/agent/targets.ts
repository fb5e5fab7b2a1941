/** The targets of an agent as its options and its targets file have them, and their changes. */
import { createHash } from "node:crypto";
import type { Agent } from "../../../agent/agent.ts";
import type { AgentConfigSource, AgentMetrics } from "../../../agent/metrics.ts";
import {
  certificateName,
  type TargetConfig,
  type TargetTable,
} from "../../../agent/target_config.ts";
import {
  type AgentOptions,
  targetsFileName,
  warningsAboutTargets,
} from "../../../config/agent_options.ts";
import { resolveClaims } from "../../../config/claims.ts";
import { readTargets } from "../../../config/entries/targets.ts";
import type { FileText } from "../../../config/files.ts";
import { formatAddress } from "../../../config/options/address.ts";
import {
  type DialledTarget,
  namesBehindPaths,
  type PathTarget,
  type TargetEntry,
} from "../../../domain/target.ts";
import type { Log } from "../../../log.ts";
import { messageOf } from "../../../message_of.ts";
import { factsOf } from "../certificates.ts";
import { followConfig } from "../followed_config.ts";
import type { TlsFileFacts } from "../tls_files.ts";
import { tokenFile } from "../token_file.ts";
import type { WatchedFiles } from "../watched_files.ts";
import type { TargetDialer } from "./single_target.ts";
import { loadProofKeys, type ProofKeys } from "./proof_keys.ts";
import { type LoadedTls, loadTargetTls, targetDialer } from "./target_tls.ts";

/** What the targets file held when it was read last, and its TLS files. */
interface LoadedFile {
  readonly text: string;
  readonly entries: readonly TargetEntry[];
  readonly tls: readonly LoadedTls[];
  /** The keys of each entry that impersonates. */
  readonly proofKeys: readonly (ProofKeys | undefined)[];
}

/** Where reloads are told. */
export interface TargetsHost {
  readonly agent: Agent;
  readonly metrics: AgentMetrics;
  readonly log: Log;
  /** Other certificates may be in use from now on. */
  readonly replaced?: () => void;
}

/** Reads the table, and reads it again when its files change. */
export class AgentTargets {
  readonly #options: AgentOptions;
  /** How the target of `--target` is reached, if there is one. */
  readonly dialSingle: TargetDialer | undefined;
  #file: LoadedFile | undefined;
  #tlsWatch: WatchedFiles | undefined;
  /** Two files may change at once; one change is applied after the other. */
  #applying: Promise<unknown> = Promise.resolve();

  private constructor(
    options: AgentOptions,
    dialSingle: TargetDialer | undefined,
    file: LoadedFile | undefined,
  ) {
    this.#options = options;
    this.dialSingle = dialSingle;
    this.#file = file;
  }

  /**
   * @param dialSingle Connects to the target of `--target`, if there is one.
   * @throws {ConfigError} for a certificate or key that no handshake could use.
   */
  static async load(
    options: AgentOptions,
    dialSingle: TargetDialer | undefined,
  ): Promise<AgentTargets> {
    const { targets } = options;
    const file = targets && await loadFile(targets.path, targets.text, targets.entries);
    return new AgentTargets(options, dialSingle, file);
  }

  /** One line each, to be logged at start. */
  get warnings(): readonly string[] {
    return this.#file?.tls.flatMap(({ warnings }) => warnings) ?? [];
  }

  /** The targets of the file and how each is dialled, for checks. */
  get named(): { entry: DialledTarget; dial: TargetDialer }[] {
    const { dialTimeoutMs } = this.#options;
    return this.#file?.entries.flatMap((entry, index) => {
      if (entry.paths) return [];
      return [{ entry, dial: targetDialer(entry, this.#file!.tls[index]!.pems, dialTimeoutMs) }];
    }) ?? [];
  }

  /** What the agent serves now. */
  get table(): TargetTable {
    return this.#tableOf(this.#file);
  }

  /** What is known of the certificates of the targets' files. */
  facts(nowMs: number): TlsFileFacts[] {
    return this.#file?.entries.flatMap(({ name, tls }, index) => {
      const { pems } = this.#file!.tls[index]!;
      return (["ca", "cert"] as const).flatMap((key) => {
        const facts = pems[key] === undefined
          ? undefined
          : factsOf(pems[key], key === "cert", nowMs);
        const path = tls?.[key];
        if (facts === undefined || path === undefined) return [];
        return [{ option: certificateName(name, key), path, ...facts }];
      });
    }) ?? [];
  }

  /** Has the agent serve what the files hold whenever they change. */
  follow(host: TargetsHost): void {
    const { path, text } = this.#options.targets ?? {};
    if (path === undefined || text === undefined) return;
    const { metrics, log } = host;
    followConfig<AgentConfigSource>({
      source: "targets",
      paths: [path],
      known: [{ path, text }],
      apply: ([file]) =>
        this.#inTurn(async () => {
          const { targets } = host.agent;
          try {
            const entries = readTargets(file!.text, targetsFileName(path));
            const about = this.#use(await loadFile(path, file!.text, entries), host);
            targets.refused = undefined;
            return about;
          } catch (error) {
            const reason = messageOf(error);
            targets.refused = { hash: hashOf(file!.text), reason };
            throw error;
          }
        }),
      metrics,
      log,
    });
    this.#followTls(host);
  }

  /** The PEM files of the targets that there are now. */
  #followTls(host: TargetsHost): void {
    this.#tlsWatch?.close();
    this.#tlsWatch = undefined;
    const known = filesOf(this.#file);
    const { path } = this.#options.targets!;
    if (known.length === 0) return;
    const { metrics, log } = host;
    this.#tlsWatch = followConfig<AgentConfigSource>({
      source: "targets_tls",
      paths: known.map(({ path }) => path),
      text: { invalid: "replace" },
      known,
      apply: () =>
        this.#inTurn(async () => {
          const { text, entries } = this.#file!;
          return this.#use(await loadFile(path, text, entries), host);
        }),
      metrics,
      log,
    });
  }

  async #inTurn<T>(apply: () => Promise<T>): Promise<T> {
    const turn = this.#applying.then(apply, apply);
    this.#applying = turn.catch(() => {});
    return await turn;
  }

  /** @throws {ConfigError} for a hostname whose target is gone. */
  #use(file: LoadedFile, host: TargetsHost): object {
    const before = filesOf(this.#file).map(({ path }) => path);
    const changes = host.agent.replaceTargets(this.#tableOf(file));
    this.#file = file;
    host.replaced?.();
    const { path } = this.#options.targets!;
    const { entries } = file;
    for (const warning of [...warningsAboutTargets({ path, entries }), ...this.warnings]) {
      host.log.warn(warning);
    }
    const after = filesOf(file).map(({ path }) => path);
    if (before.join("\n") !== after.join("\n")) this.#followTls(host);
    return { ...changes, hash: this.table.hash };
  }

  #tableOf(file: LoadedFile | undefined): TargetTable {
    const options = this.#options;
    const single = this.dialSingle && singleTarget(options, this.dialSingle);
    const entries = file?.entries ?? [];
    const targets = [
      ...entries.flatMap((entry, index) =>
        entry.paths ? [] : [namedTarget(entry, file!.tls[index]!, file!.proofKeys[index], options)]
      ),
      ...(single ? [single] : []),
    ];
    const pathTargets = entries.filter(({ paths }) => paths !== undefined) as PathTarget[];
    const hidden = namesBehindPaths(pathTargets);
    const asked = [...targets, ...pathTargets].filter(({ name }) => !hidden.has(name));
    return {
      targets,
      pathTargets,
      hostnames: resolveClaims(options.hostname ?? [], asked, "Option --hostname"),
      ...(file && { hash: hashOf(file.text) }),
    };
  }
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function loadFile(
  path: string,
  text: string,
  entries: readonly TargetEntry[],
): Promise<LoadedFile> {
  const tls: LoadedTls[] = [];
  for (const [index, entry] of entries.entries()) {
    tls.push(await loadTargetTls(entry, targetsFileName(path), index));
  }
  const proofKeys = await Promise.all(
    entries.map((entry, index) => loadProofKeys(entry, targetsFileName(path), index)),
  );
  return { text, entries, tls, proofKeys };
}

/** The files of certificates and keys of all targets, each once. */
function filesOf(file: LoadedFile | undefined): FileText[] {
  if (!file) return [];
  const files = file.tls.flatMap(({ files }) => files);
  for (const keys of file.proofKeys) if (keys?.file) files.push(keys.file);
  return [...new Map(files.map((one) => [one.path, one] as const)).values()];
}

function singleTarget(options: AgentOptions, dial: TargetDialer): TargetConfig {
  const { target, saTokenPath: path, targetTls } = options;
  const address = formatAddress(target!);
  return {
    name: address,
    kind: "http",
    address,
    host: address,
    usesTls: targetTls !== undefined,
    ...(path !== undefined && {
      credential: {
        file: tokenFile(path),
        path,
        header: "Authorization",
        scheme: "Bearer",
        origin: "sa-token-path",
      },
    }),
    // Its options don't change while the agent runs.
    identity: "",
    dial,
  };
}

function namedTarget(
  entry: DialledTarget,
  { pems }: LoadedTls,
  keys: ProofKeys | undefined,
  { dialTimeoutMs }: AgentOptions,
): TargetConfig {
  const { name, kind, tls, credential, impersonate: demands } = entry;
  const address = formatAddress(entry.address);
  const defaultPort = tls ? 443 : 80;
  const { hostname, port } = entry.address;
  return {
    name,
    kind,
    address,
    host: port === defaultPort ? hostOf(hostname) : address,
    usesTls: tls !== undefined,
    ...(credential && {
      credential: {
        ...credential,
        file: tokenFile(credential.file),
        path: credential.file,
        origin: "targets",
      },
    }),
    ...(demands && keys && { impersonate: { demands, find: keys.find } }),
    identity: JSON.stringify([entry, pems, keys?.file?.text]),
    dial: targetDialer(entry, pems, dialTimeoutMs),
  };
}

/** A host as URLs have it. */
function hostOf(hostname: string): string {
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}

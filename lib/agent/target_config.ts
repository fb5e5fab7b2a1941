/** What an agent knows of one target. */
import type { ImpersonationDemands } from "../domain/identity.ts";
import type { PathTarget } from "../domain/target.ts";
import type { FindKey } from "../jwt/verify.ts";
import type { ByteSocket } from "../net/byte_socket.ts";
import type { StreamKind } from "../protocol/target_key.ts";
import type { TokenFile } from "./credentials.ts";

/** The credential that each request to a target gets. */
export interface CredentialConfig {
  readonly file: TokenFile;
  /** Its path, for the log. */
  readonly path: string;
  /** The field's name. */
  readonly header: string;
  /** Stands before the token; empty for the token alone. */
  readonly scheme: string;
  /** The option that names the file, without dashes: `sa-token-path`, or `targets`. */
  readonly origin: string;
}

/** How an agent acts for others at a target. */
export interface TargetImpersonation {
  readonly demands: ImpersonationDemands;
  /** Finds the keys of those who prove whom a request is from. */
  readonly find: FindKey;
}

/** One target, and how the runtime reaches it. */
export interface TargetConfig {
  /** What relays ask for. */
  readonly name: string;
  readonly kind: StreamKind;
  /** `HOST:PORT`. */
  readonly address: string;
  /** What `Host` is where a request has the name there. */
  readonly host: string;
  readonly usesTls: boolean;
  readonly credential?: CredentialConfig | undefined;
  /** Whom the agent acts for there; absent where it acts for itself. */
  readonly impersonate?: TargetImpersonation | undefined;
  /** Two configurations with the same one are the same target, which keeps its connections. */
  readonly identity: string;
  /** Connects to the target. @throws {StreamError} that says why it can't. */
  readonly dial: (signal: AbortSignal) => Promise<ByteSocket>;
}

/** The label of a credential's metric. */
export function credentialName({ name, credential }: TargetConfig): string {
  return credential?.origin === "sa-token-path" ? credential.origin : `targets/${name}`;
}

/** The label of the metric of a certificate in a targets file. */
export function certificateName(target: string, key: "ca" | "cert"): string {
  return `targets/${target}/${key}`;
}

/** All targets of an agent. */
export interface TargetTable {
  readonly targets: readonly TargetConfig[];
  /** Those that choose among the others; relays can't ask for those others by name. */
  readonly pathTargets?: readonly PathTarget[] | undefined;
  /** Hostnames that the agent claims, and for which target. */
  readonly hostnames: readonly { readonly hostname: string; readonly target: string }[];
  /** Tells one table from another; a table of one target in the options has none. */
  readonly hash?: string | undefined;
}

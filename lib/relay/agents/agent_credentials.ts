/** What an agent's handshake shows. */
import { type Field, getField } from "../../http1/head.ts";
import type { Peer } from "../../net/exchange.ts";
import { digestToken } from "../digests.ts";
import type { AgentCredentials } from "./admissions.ts";

/** No token is longer; what is longer is not worth hashing. */
export const maxTokenChars = 4_096;

/** The credentials that a handshake came with; nothing without a token. */
export async function readAgentCredentials(
  fields: readonly Field[],
  { certificate }: Peer,
): Promise<AgentCredentials | undefined> {
  const token = /^Bearer (.+)$/i.exec(getField(fields, "authorization") ?? "")?.[1];
  if (token === undefined || token.length > maxTokenChars) return undefined;
  return { digest: await digestToken(token), certificate };
}

/** Names of routes as targets and services, and of what belongs to them. */
import type { Digest } from "../digest.ts";

const maxNameCharacters = 63;
const digestCharacters = 16;

/**
 * A name for people with a digest for uniqueness: 1 to 63 of `a-z`, `0-9` and `-`.
 *
 * @param owner Is in the digest alone.
 */
export function nameOf([owner = "", ...parts]: readonly string[], digest: Digest): string {
  const suffix = digest(JSON.stringify([owner, ...parts])).slice(0, digestCharacters);
  const readable = parts.join("-").replaceAll(".", "-")
    .slice(0, maxNameCharacters - digestCharacters - 1).replace(/-+$/, "");
  return `${readable}-${suffix}`;
}

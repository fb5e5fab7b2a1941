/** The configurations that docs/recipes.md gives for proxies, with a test's ports and files. */
import { readText } from "../docs/markdown.ts";

/** What a recipe's examples stand for in a test. */
export interface Places {
  /** Where the proxy listens, in place of 443. */
  readonly port: number;
  /** The relay's listeners, in place of 8443 and 8080. */
  readonly publicPort: number;
  readonly internalPort: number;
  readonly certPath: string;
  readonly keyPath: string;
}

/** The name in the recipes, and the one that leads to this machine. */
const exampleName = "relay.example.com";
export const relayName = "localhost";

/**
 * The fenced blocks of a language in docs/recipes.md, as the page has them.
 *
 * @throws {Error} when there is none.
 */
export function recipeBlocks(language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms");
  const blocks = [...readText("docs/recipes.md").matchAll(fence)].map((match) => match[1]!);
  if (blocks.length === 0) throw new Error(`docs/recipes.md has no block of ${language}`);
  return blocks;
}

/** A recipe with this test's ports, files and name. */
export function placed(recipe: string, places: Places): string {
  return recipe
    .replaceAll(/\/etc\/\w+\/relay\.example\.com\.crt/g, places.certPath)
    .replaceAll(/\/etc\/\w+\/relay\.example\.com\.key/g, places.keyPath)
    .replaceAll(exampleName, relayName)
    .replaceAll(/(listen\s+)443/g, `$1127.0.0.1:${places.port}`)
    .replaceAll("127.0.0.1:8443", `127.0.0.1:${places.publicPort}`)
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${places.internalPort}`);
}

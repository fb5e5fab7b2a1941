/** `wrangler.jsonc` as far as the tests need it: what the deployed Worker runs with. */

/** What wrangler gives to the platform. */
export interface WranglerConfig {
  readonly compatibility_date: string;
  readonly compatibility_flags: readonly string[];
  readonly durable_objects: {
    readonly bindings: readonly { readonly name: string; readonly class_name: string }[];
  };
  readonly migrations: readonly { readonly new_sqlite_classes: readonly string[] }[];
}

const file = new URL("../../deploy/cloudflare/wrangler.jsonc", import.meta.url);

/** Reads the file; its comments stand on lines of their own. */
export function readWranglerConfig(): WranglerConfig {
  const text = Deno.readTextFileSync(file).replaceAll(/^\s*\/\/.*$/gm, "");
  return JSON.parse(text);
}

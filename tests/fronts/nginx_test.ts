/** The nginx recipes, with Debian's nginx. */
import { startProgram, type StartProxy, testFront } from "./behind.ts";
import { placed, recipeBlocks } from "./recipes.ts";

/** Debian builds `stream` as a module. */
const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so";

function main(body: string, folder: string): string {
  return `daemon off; pid ${folder}/nginx.pid; error_log stderr; events {}\n${body}\n`;
}

/** nginx with a recipe; `wrap` puts it into the context that the page names. */
function nginx(recipe: string, wrap: (text: string, folder: string) => string): StartProxy {
  return async (places, folder) => {
    const config = `${folder}/nginx.conf`;
    await Deno.writeTextFile(config, wrap(placed(recipe, places), folder));
    return await startProgram("nginx", ["-c", config, "-e", "stderr"], places.port);
  };
}

const [http, stream] = recipeBlocks("nginx");

testFront(
  "nginx that terminates TLS",
  nginx(http!, (text, folder) => {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(" ");
    return main(`http { access_log off; ${temporary}\n${text}\n}`, folder);
  }),
);

testFront(
  "nginx that passes TLS through",
  nginx(stream!, (text, folder) => `load_module ${streamModule};\n${main(text, folder)}`),
  { isPassThrough: true },
);

// A foreign client: asks once whole and once streamed, and writes what it heard as JSON.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 2 });
const [, , prompt] = process.argv;
const request = { model: "m", messages: [{ role: "user", content: prompt }] };
const heard = {};
try {
  heard.whole = (await client.chat.completions.create(request)).choices[0].message.content;
  heard.pieces = [];
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
    const text = chunk.choices[0]?.delta?.content;
    if (text) heard.pieces.push(text);
  }
} catch (error) {
  heard.error = { status: error.status, code: error.code, message: error.message };
}
console.log(JSON.stringify(heard));

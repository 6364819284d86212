/*
 * Schemas by keyword for t/grammar/json.c: each is held against the validator
 * over a pool of small values.
 */

#ifndef LLM_T_GRAMMAR_JSON_CASES_H
#define LLM_T_GRAMMAR_JSON_CASES_H

typedef struct {
    const char *name;
    const char *schema;
} hand_t;

/* Over the pool's values: members a b c, scalars, short arrays. */
static const hand_t hand[] = {
    {"true", "true"},
    {"type", "{\"type\":[\"object\",\"null\"]}"},
    {"properties",
     "{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":true}}"},
    {"required", "{\"required\":[\"c\",\"a\"],\"type\":\"object\"}"},
    {"closed", "{\"properties\":{\"a\":{},\"b\":{\"type\":\"null\"}},"
               "\"additionalProperties\":false,\"required\":[\"b\"]}"},
    {"false property", "{\"properties\":{\"a\":false}}"},
    {"additional", "{\"properties\":{\"a\":{\"type\":\"integer\"}},"
                   "\"additionalProperties\":{\"type\":\"string\"}}"},
    {"patternProperties",
     "{\"patternProperties\":{\"^[ab]$\":{\"type\":\"integer\"},"
     "\"[bc]\":{\"minimum\":1}},\"additionalProperties\":false}"},
    {"propertyNames", "{\"propertyNames\":{\"enum\":[\"a\",\"c\"]}}"},
    {"propertyNames not", "{\"type\":\"object\",\"not\":{\"propertyNames\":"
                          "{\"enum\":[\"a\",\"c\"]}}}"},
    {"minProperties", "{\"type\":\"object\",\"minProperties\":2}"},
    {"maxProperties", "{\"type\":\"object\",\"maxProperties\":1}"},
    {"counts of a closed one",
     "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{\"type\":\"null\"},"
     "\"c\":{}},\"additionalProperties\":false,\"minProperties\":2,"
     "\"maxProperties\":2}"},
    {"count and required",
     "{\"type\":\"object\",\"required\":[\"a\"],\"maxProperties\":2,"
     "\"minProperties\":2}"},
    {"names that run out",
     "{\"type\":\"object\",\"patternProperties\":{\"^[ab]$\":{}},"
     "\"additionalProperties\":false,\"minProperties\":2}"},
    {"dependentRequired", "{\"dependentRequired\":{\"a\":[\"b\"]}}"},
    {"dependencies", "{\"dependencies\":{\"a\":[\"b\"],\"c\":"
                     "{\"properties\":{\"a\":{\"type\":\"null\"}}}}}"},
    {"dependentSchemas", "{\"dependentSchemas\":{\"a\":{\"required\":[\"c\"],"
                         "\"maxProperties\":2}}}"},
    {"unevaluatedProperties",
     "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}}}],"
     "\"anyOf\":[{\"properties\":{\"b\":{\"type\":\"null\"}},\"required\":"
     "[\"b\"]},{\"properties\":{\"c\":{}}}],"
     "\"unevaluatedProperties\":false}"},
    {"not additional", "{\"type\":\"object\",\"not\":{\"additionalProperties\":"
                       "{\"type\":\"integer\"}}}"},
    {"not additional beside",
     "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},"
     "\"maxProperties\":2,\"not\":{\"properties\":{\"b\":{}},"
     "\"additionalProperties\":{\"type\":\"integer\"}}}"},
    {"not patternProperties",
     "{\"type\":\"object\",\"not\":{\"patternProperties\":{\"^[ab]$\":"
     "{\"type\":\"integer\"}}}}"},
    {"two conditions",
     "{\"type\":\"object\",\"allOf\":[{\"not\":{\"patternProperties\":"
     "{\"^[ab]$\":{\"type\":\"integer\"}}}},{\"not\":{\"patternProperties\":"
     "{\"^[bc]$\":{\"type\":\"null\"}}}}],\"maxProperties\":1}"},
    {"not required", "{\"type\":\"object\",\"not\":{\"required\":[\"a\"]}}"},
    {"prefixItems", "{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":"
                    "\"string\"}],\"items\":{\"type\":\"null\"}}"},
    {"prefix, closed", "{\"type\":\"array\",\"prefixItems\":[{},{\"type\":"
                       "\"string\"}],\"items\":false,\"minItems\":1}"},
    {"false in a prefix", "{\"type\":\"array\",\"prefixItems\":[{},false]}"},
    {"minItems", "{\"type\":\"array\",\"minItems\":2}"},
    {"maxItems", "{\"type\":\"array\",\"maxItems\":2}"},
    {"uniqueItems", "{\"type\":\"array\",\"items\":{\"type\":[\"number\","
                    "\"string\",\"null\",\"boolean\"]},\"uniqueItems\":true}"},
    {"unique, few", "{\"type\":\"array\",\"items\":{\"enum\":[1,\"a\",null]},"
                    "\"uniqueItems\":true,\"minItems\":3}"},
    {"unique, scarce",
     "{\"type\":\"array\",\"prefixItems\":[{\"enum\":[1,\"a\",\"b\"]},"
     "{\"enum\":[\"a\"]}],\"items\":false,\"uniqueItems\":true,"
     "\"minItems\":2}"},
    {"unique, scarce of many",
     "{\"type\":\"array\",\"prefixItems\":[{\"type\":[\"string\",\"number\"]},"
     "{\"enum\":[\"a\",1]}],\"items\":{\"enum\":[1]},\"uniqueItems\":true,"
     "\"minItems\":3}"},
    {"unique, few contained",
     "{\"type\":\"array\",\"items\":{\"enum\":[1,\"a\",null]},\"uniqueItems\":"
     "true,\"contains\":{\"type\":\"integer\"}}"},
    {"unique, few contained, counted",
     "{\"type\":\"array\",\"items\":{\"enum\":[1,\"a\",null,2]},"
     "\"uniqueItems\":true,\"contains\":{\"type\":\"integer\"},\"minContains\":"
     "0,"
     "\"maxContains\":1,\"minItems\":2}"},
    {"unique, contained that run out",
     "{\"type\":\"array\",\"prefixItems\":[{\"type\":[\"string\",\"number\"]}],"
     "\"items\":{\"type\":[\"string\",\"number\"]},\"uniqueItems\":true,"
     "\"contains\":{\"type\":\"string\"},\"maxContains\":1}"},
    {"names, few of two conditions",
     "{\"type\":\"object\",\"allOf\":[{\"not\":{\"patternProperties\":{\"^a$\":"
     "{\"type\":\"integer\"}}}},{\"not\":{\"patternProperties\":{\"x|b\":"
     "{\"type\":\"null\"}}}}]}"},
    {"unique and contains",
     "{\"type\":\"array\",\"items\":{\"type\":[\"string\",\"number\"]},"
     "\"uniqueItems\":true,\"contains\":{\"type\":\"string\"},"
     "\"minContains\":2}"},
    {"contains", "{\"type\":\"array\",\"contains\":{\"type\":\"integer\"}}"},
    {"minContains 2", "{\"type\":\"array\",\"contains\":{\"type\":\"integer\"},"
                      "\"minContains\":2,\"maxItems\":3}"},
    {"maxContains", "{\"type\":\"array\",\"contains\":{\"type\":\"integer\"},"
                    "\"maxContains\":1}"},
    {"maxContains 2, min 0",
     "{\"type\":\"array\",\"contains\":{\"enum\":[1,\"a\"]},"
     "\"minContains\":0,\"maxContains\":2}"},
    {"not contains", "{\"type\":\"array\",\"not\":{\"contains\":"
                     "{\"type\":\"string\"}}}"},
    {"two contains",
     "{\"type\":\"array\",\"allOf\":[{\"contains\":{\"type\":\"integer\"}},"
     "{\"contains\":{\"minimum\":1},\"maxContains\":1}]}"},
    {"unevaluatedItems",
     "{\"type\":\"array\",\"prefixItems\":[{}],\"anyOf\":[{\"prefixItems\":"
     "[{},{\"type\":\"integer\"}]},{\"maxItems\":1}],"
     "\"unevaluatedItems\":false}"},
    {"enum", "{\"enum\":[1,\"a\",null,{\"a\":1},[1,\"a\"],[],{}]}"},
    {"not enum", "{\"not\":{\"enum\":[1,\"a\",null,{\"a\":1},[1,\"a\"],[]]}}"},
    {"const", "{\"const\":{\"a\":[null],\"b\":1}}"},
    {"oneOf", "{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":1},"
              "{\"required\":[\"a\"]}]}"},
    {"oneOf objects",
     "{\"type\":\"object\",\"oneOf\":[{\"required\":[\"a\"]},"
     "{\"required\":[\"b\"]},{\"properties\":{\"c\":{\"type\":\"null\"}}}]}"},
    {"if", "{\"if\":{\"properties\":{\"a\":{\"const\":1}},\"required\":"
           "[\"a\"]},\"then\":{\"required\":[\"b\"]},\"else\":{\"maxProperties"
           "\":1}}"},
    {"recursion", "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"},"
                  "\"b\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}},"
                  "\"additionalProperties\":false}"},
    {"anyOf overlap",
     "{\"anyOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":"
     "[\"a\",\"b\"]},{\"properties\":{\"a\":{\"type\":[\"integer\",\"null\"]}},"
     "\"required\":[\"a\"],\"maxProperties\":1}]}"},
    {"multipleOf", "{\"multipleOf\":0.5,\"maximum\":1}"},
    {"minLength", "{\"minLength\":1}"},
};

#endif /* LLM_T_GRAMMAR_JSON_CASES_H */
